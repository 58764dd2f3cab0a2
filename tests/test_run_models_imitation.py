"""The run of a generator with an answer key, and its exports, wherever a generator is expected."""

import pytest
import torch
from _files import tiny_encoder
from test_imitation import TINY, lessons, trainer  # noqa: F401  (lessons is a fixture)

import pspnb
from pspnb.errors import LoadError
from pspnb.models import official
from pspnb.models.load import average_of
from pspnb.models.psp import PSP
from pspnb.training.checkpoint import save_checkpoint
from pspnb.world2.prior import draw_z
from pspnb.world2.sampling import sample_factors


@pytest.fixture(scope="module")
def run(lessons, tmp_path_factory):  # noqa: F811
    """The folder of a run of two steps."""
    folder, t = tmp_path_factory.mktemp("run"), trainer(lessons)
    for _ in range(2):
        t.train_step()
    save_checkpoint(folder / "checkpoint.pt", t.state())
    return folder


def _same(a, b) -> None:
    z, factors = draw_z(3, seed=0), sample_factors(1, 3)
    with torch.no_grad():
        assert torch.equal(a(z), b(z)) and torch.equal(a.map_factors(factors), b.map_factors(factors))
    assert torch.equal(a.latent_avg, b.latent_avg)


def test_run_and_export_are_one_generator(run, tmp_path) -> None:
    expected = average_of(torch.load(run / "checkpoint.pt", weights_only=True))
    for where in (run, run / "checkpoint.pt"):
        _same(pspnb.load_generator(where), expected)
    official.save_generator(expected, tmp_path / "g.pt")
    _same(pspnb.load_generator(tmp_path / "g.pt"), expected)
    state = torch.load(tmp_path / "g.pt", weights_only=True)
    assert state["lr_mlp"] == TINY.lr_mlp, "without it the mapping network would compute something else"


def test_an_encoder_on_it_is_exported_with_it(run, tmp_path) -> None:
    generator = pspnb.load_generator(run)
    encoder = tiny_encoder(n_styles=generator.n_styles, style_dim=generator.style_dim)
    psp = PSP(encoder, generator).eval()
    official.save_psp(psp, tmp_path / "psp.pt")
    again = pspnb.load(tmp_path / "psp.pt")
    _same(again.decoder, generator)
    x = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x), psp(x))


def test_a_generator_of_another_world_is_refused_in_one_line(run, tmp_path) -> None:
    official.save_generator(pspnb.load_generator(run), tmp_path / "g.pt")
    content = torch.load(tmp_path / "g.pt", weights_only=True)
    content["g_ema"]["style.layers.0.weight"] = content["g_ema"]["style.layers.0.weight"][:, :-3].clone()
    torch.save(content, tmp_path / "g.pt")
    with pytest.raises(LoadError, match="another version of Facets"):
        pspnb.load_generator(tmp_path / "g.pt")
