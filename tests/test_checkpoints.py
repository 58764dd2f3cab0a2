"""Official files in: every published variant loads, computes what it should, and needs no second copy of itself."""

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from _files import (
    STYLE_DIM,
    ada_forward,
    ada_tensors,
    psp_content,
    published_state,
    tiny_encoder,
    tiny_generator,
    tiny_psp,
    write_ada,
)
from _golden import assert_close, gauss, golden, golden_keys, image, pieces

import pspnb
from pspnb.errors import LoadError
from pspnb.models import official
from pspnb.nn.backbones import FaceEmbedder
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder


@pytest.fixture
def save(tmp_path):
    """Write an object as PyTorch does; returns the path."""

    def save(content, name="model.pt", **kwargs):
        torch.save(content, tmp_path / name, **kwargs)
        return tmp_path / name

    return save


def _x(psp, n=2):
    return torch.stack([image(f"x{i}", psp.encoder.in_channels, 32, 32) for i in range(n)])


def _same(loaded, original):
    x = _x(original)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), original(x), rtol=0, atol=0)


# ---- pSp ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, cls", [("gradual", GradualStyleEncoder), ("w", WEncoder), ("wplus", NaiveWPlusEncoder)])
@pytest.mark.parametrize("in_channels", [1, 3, 19])
def test_every_encoder_type_and_input(save, kind, cls, in_channels):
    original = tiny_psp(kind, in_channels=in_channels)
    if kind != "gradual":  # their tensors do not betray an input size: the published 256 px is assumed
        original.encoder._input_size = 256
    loaded = pspnb.load(save(psp_content(original)))
    assert type(loaded.encoder) is cls and loaded.encoder.in_channels == in_channels and not loaded.training
    x = torch.stack([image("x", in_channels, original.input_size, original.input_size)])
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), original(x), rtol=0, atol=0)


def test_architecture_comes_from_the_tensors(save):
    original = tiny_psp(mode="ir")
    loaded = pspnb.load(save(psp_content(original)))
    assert loaded.decoder.channels == original.decoder.channels
    assert (loaded.decoder.size, loaded.n_styles, loaded.decoder.style_dim) == (32, 8, STYLE_DIM)
    assert len(loaded.decoder.style) == 4 and loaded.encoder.units == (1, 2, 1, 1) and loaded.encoder.mode == "ir"
    assert loaded.encoder.maps == original.encoder.maps and loaded.input_size == 32
    _same(loaded, original)


@pytest.mark.parametrize("options", [{}, {"maps": [2, 1, 0, 0, 1, 2, 0, 1]}, {"maps": [0] * 8}])
def test_heads_that_widen_at_their_end(save, options):
    original = tiny_psp(head_channels=6, last_channels=10, **options)
    loaded = pspnb.load(save(psp_content(original)))
    assert [tuple(v.shape) for v in loaded.encoder.parameters()] == [
        tuple(v.shape) for v in original.encoder.parameters()
    ]
    _same(loaded, original)


@pytest.mark.parametrize("units, depth", [((3, 4, 14, 3), 50), ((3, 13, 30, 3), 100), ((3, 8, 36, 3), 152)])
def test_depth_where_stages_have_equal_width(save, units, depth):
    encoder = tiny_encoder(units=units, widths=(8, 8, 8, 8, 8))
    original = pspnb.models.psp.PSP(encoder, tiny_generator(), latent_avg=torch.zeros(STYLE_DIM)).eval()
    assert pspnb.load(save(psp_content(original))).encoder.units == GradualStyleEncoder(8, depth=depth).units == units


@pytest.mark.parametrize("shape", [(8, STYLE_DIM), (1, 8, STYLE_DIM), (1, STYLE_DIM), (STYLE_DIM,)])
def test_shapes_of_the_latent_average(save, shape):
    psp = tiny_psp()
    average = gauss("average", shape)
    loaded = pspnb.load(save({**psp_content(psp), "latent_avg": average}))
    average = average.reshape(-1, STYLE_DIM).expand(8, STYLE_DIM)
    assert torch.equal(loaded.latent_avg, average)
    x = _x(psp)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(x), psp.encoder(x) + average)


def test_the_generators_average_is_the_stored_one_when_all_styles_share_it(save):
    average = gauss("average", (1, STYLE_DIM))
    loaded = pspnb.load(save({**psp_content(tiny_psp()), "latent_avg": average.repeat(8, 1)}))
    assert torch.equal(loaded.decoder.latent_avg, average[0])
    loaded = pspnb.load(save(psp_content(tiny_psp())))  # differs from style to style: sampled
    assert torch.equal(loaded.decoder.latent_avg, loaded.decoder.mean_latent(10_000, seed=0))


def test_without_latent_average_the_code_is_the_encoders_output(save):
    psp = tiny_psp()
    content = psp_content(psp, opts={"start_from_latent_avg": False})
    del content["latent_avg"]
    x = _x(psp)
    with torch.no_grad():
        assert torch.equal(pspnb.load(save(content)).encode(x), psp.encoder(x))
        for options in (None, {}, {"output_size": 32}):
            content["opts"] = options
            assert torch.equal(pspnb.load(save(content), start_from_latent_avg=False).encode(x), psp.encoder(x))
            again = pspnb.load(save(content), start_from_latent_avg=True)
            assert torch.equal(again.encode(x), psp.encoder(x) + again.decoder.mean_latent(10_000, seed=0))
            with pytest.raises(LoadError, match="nothing says whether codes start from the mean latent"):
                pspnb.load(save(content))
            with pytest.raises(LoadError, match="nothing says whether codes start from the mean latent"):
                pspnb.load(save(content["state_dict"]))


@pytest.mark.parametrize("flag", [True, "True"])
def test_missing_average_is_sampled_when_training_started_from_it(save, caplog, flag):
    content = psp_content(tiny_psp(), opts={"start_from_latent_avg": flag})
    del content["latent_avg"]
    loaded = pspnb.load(save(content))
    assert torch.equal(loaded.latent_avg[3], loaded.decoder.mean_latent(10_000, seed=0))
    assert "no latent_avg" in caplog.text


@pytest.mark.parametrize(
    "opts",
    [
        None,
        {},
        {"encoder_type": "GradualStyleEncoder", "batch_size": "8", "learn_in_w": "False", "label_nc": "0"},
        {"start_from_latent_avg": "True", "output_size": None},
        argparse.Namespace(encoder_type="GradualStyleEncoder", output_size=32),
    ],
)
def test_options_may_be_missing_strings_or_a_namespace(save, opts):
    psp = tiny_psp()
    content = psp_content(psp) if opts is None else psp_content(psp, opts=opts)
    _same(pspnb.load(save(content)), psp)


def test_flags_stored_as_strings_are_read(save):
    psp = tiny_psp()
    loaded = pspnb.load(save(psp_content(psp, opts={"start_from_latent_avg": "False"})))
    assert not loaded.start_from_latent_avg


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_containers(save, legacy, bare):
    """The zip and the older format; inside a dict, or the state dict itself with the names of multi-GPU training."""
    psp = tiny_psp()
    content = psp_content(psp)
    if bare:
        content = {f"module.{k}": v for k, v in content["state_dict"].items()} | {"latent_avg": psp.latent_avg}
    _same(pspnb.load(save(content, _use_new_zipfile_serialization=not legacy)), psp)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_saved_on_cuda_load_on_the_cpu(save, monkeypatch, legacy):
    psp = tiny_psp()
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        path = save(psp_content(psp), _use_new_zipfile_serialization=not legacy)
    assert b"cuda:0" in path.read_bytes()
    loaded = pspnb.load(path)
    assert {p.device.type for p in loaded.parameters()} == {"cpu"}
    _same(loaded, psp)


def test_half_precision_files_become_float32(save):
    content = psp_content(tiny_psp())
    content["state_dict"] = {k: v.half() if v.is_floating_point() else v for k, v in content["state_dict"].items()}
    loaded = pspnb.load(save(content))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert loaded(_x(loaded)).dtype == torch.float32


def test_loaded_weights_can_be_trained_without_touching_the_file(save):
    path = save(psp_content(tiny_psp()))
    before = path.read_bytes()
    loaded = pspnb.load(path)
    with torch.no_grad():
        for parameter in loaded.parameters():
            assert parameter.requires_grad
            parameter.add_(1)
    assert path.read_bytes() == before


def test_loading_leaves_the_random_state_alone(save):
    path = save(psp_content(tiny_psp()))
    before = torch.get_rng_state()
    pspnb.load(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["gradual", "w", "wplus"])
def test_save_psp_writes_the_official_format(tmp_path, kind):
    psp = tiny_psp(kind)
    if kind != "gradual":
        psp.encoder._input_size = 256
    official.save_psp(psp, tmp_path / "out.pt")
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    assert set(content) == {"state_dict", "opts", "latent_avg"}
    assert set(content["state_dict"]) == set(psp_content(psp)["state_dict"])
    assert content["latent_avg"].shape == ((1, STYLE_DIM) if kind == "w" else (8, STYLE_DIM))
    again = pspnb.load(tmp_path / "out.pt")
    x = torch.stack([image("x", 3, psp.input_size, psp.input_size)])
    with torch.no_grad():
        torch.testing.assert_close(again.encode(x)[:, 0], psp.encode(x)[:, 0])


# ---- generators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["g_ema", "bare", "training"])
def test_rosinality_generators(save, container):
    original = tiny_generator()
    state = original.state_dict()
    other = {k: torch.zeros_like(v) for k, v in state.items()}
    content = {
        "g_ema": {"g_ema": state, "latent_avg": original.latent_avg},
        "bare": state,
        "training": {"g": other, "d": {"final_linear.0.weight": torch.zeros(1)}, "g_ema": state, "args": None},
    }[container]
    loaded = pspnb.load_generator(save(content))
    if container == "g_ema":
        assert torch.equal(loaded.latent_avg, original.latent_avg)
    else:
        assert torch.equal(loaded.latent_avg, original.mean_latent(10_000, seed=0))
        assert torch.equal(loaded.latent_avg, pspnb.load_generator(save(content)).latent_avg)
    z = gauss("z", (2, STYLE_DIM))
    with torch.no_grad():
        torch.testing.assert_close(loaded(z), original(z), rtol=0, atol=0)


def test_generator_out_of_a_psp_checkpoint(save):
    psp = tiny_psp()
    loaded = pspnb.load_generator(save(psp_content(psp)))
    w = gauss("w", (1, 8, STYLE_DIM))
    assert torch.equal(loaded.synthesize(w), psp.decode(w))


def test_generator_files_of_before_buffers(save):
    """Early files have neither blur kernels nor noise maps: the first are constants, the second a fixed draw."""
    original = tiny_generator()
    state = {k: v for k, v in original.state_dict().items() if not k.endswith("kernel") and "noises" not in k}
    first, second = (pspnb.load_generator(save({"g_ema": state})) for _ in range(2))
    maps = [gauss(f"n{i}", (1, 1, r, r)) for i, r in enumerate((4, 8, 8, 16, 16, 32, 32))]
    w = gauss("w", (1, STYLE_DIM))
    assert torch.equal(first.synthesize(w, noise=maps), original.synthesize(w, noise=maps))
    assert torch.equal(first.synthesize(w), second.synthesize(w))


def test_generator_without_noise(tmp_path):
    original = tiny_generator(noise=False)
    official.save_generator(original, tmp_path / "g.pt")
    loaded = pspnb.load_generator(tmp_path / "g.pt")
    w = gauss("w", (1, STYLE_DIM))
    assert not loaded.has_noise and torch.equal(loaded.synthesize(w), original.synthesize(w))


@pytest.mark.parametrize("keys, size, width", [("generator_256_cm1", 256, 64), ("generator_256", 256, 128)])
def test_channel_multiplier_comes_from_the_tensors(save, keys, size, width):
    """The tensors are zero-strided: a file of the published shapes without 100 MB of numbers."""
    state = {k: torch.zeros(1).expand(shape).contiguous() for k, (shape, _) in golden_keys(keys).items()}
    state |= {k: v for k, v in tiny_generator().state_dict().items() if k.endswith("kernel")}
    kernel = next(v for k, v in state.items() if k.endswith("kernel"))
    state = {k: kernel if k.endswith("kernel") else v for k, v in state.items()}
    loaded = pspnb.load_generator(save({"g_ema": state, "latent_avg": torch.zeros(512)}))
    assert loaded.size == size and loaded.channels[256] == width and loaded.channels[64] == 4 * width


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_stylegan2_ada_pickles_compute_what_nvidia_defines(tmp_path, protocol):
    tensors = ada_tensors()
    write_ada(tmp_path / "ada.pkl", tensors, protocol=protocol)
    loaded = pspnb.load_generator(tmp_path / "ada.pkl")
    assert loaded.size == 32 and loaded.n_styles == 8 and len(loaded.style) == 4
    assert torch.equal(loaded.latent_avg, tensors["mapping.w_avg"])
    z = gauss("z", (2, STYLE_DIM))
    with torch.no_grad():
        assert_close(loaded(z), ada_forward(tensors, z), rms=1e-5)


def test_stylegan2_ada_up_convolutions_must_not_be_flipped(tmp_path):
    """The comparison above notices a flip: it is the one convention that a shape cannot show."""
    tensors = ada_tensors()
    flipped = {k: v.flip(2, 3) if k.endswith("conv0.weight") else v for k, v in tensors.items()}
    z = gauss("z", (1, STYLE_DIM))
    a, b = ada_forward(tensors, z), ada_forward(flipped, z)
    assert ((a - b).square().mean().sqrt() / a.std()) > 0.1


def test_stylegan2_ada_variants(tmp_path):
    """Two mapping layers (the "auto" configuration), no noise, no average, only G."""
    tensors = {k: v for k, v in ada_tensors(n_mlp=2).items() if ".noise_" not in k and k != "mapping.w_avg"}
    path = tmp_path / "ada.pkl"
    write_ada(path, tensors, name="G")
    loaded = pspnb.load_generator(path)
    assert len(loaded.style) == 3 and not loaded.has_noise
    assert torch.equal(loaded.latent_avg, loaded.mean_latent(10_000, seed=0))


# ---- face recognition ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, units, affine, size", [("ir_se", (1, 2, 3, 1), True, 112), ("ir", (2, 1, 1, 1), False, 224)]
)
def test_identity_networks(save, mode, units, affine, size):
    torch.manual_seed(0)
    original = FaceEmbedder(
        input_size=size, mode=mode, units=units, affine=affine, widths=(4, 4, 8, 12, 16), embedding_dim=24
    ).eval()
    loaded = pspnb.load_identity(save(original.state_dict()))
    x = image("face", 3, size, size)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), original(x), rtol=0, atol=0)
        torch.testing.assert_close(loaded(x).norm(dim=1), torch.ones(1))


@pytest.mark.slow
@pytest.mark.parametrize("name, keys", [("irse50", "backbone_112_50_ir_se"), ("ir101", "IR_101_112")])
def test_published_identity_files_at_full_size(save, name, keys):
    """IR-SE50 (397 tensors) and IR-101 (672): the file as published, filled by the rule, against the golden embeddings."""
    stored = golden("backbones")
    net = pspnb.load_identity(save(published_state(keys)))
    x = torch.stack([image(f"{name}{i}", 3, 112, 112) for i in range(2)])
    with torch.no_grad():
        assert_close(net(x), stored[f"{name}_emb"], tol=1e-4)


# ---- the whole size -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published_file(tmp_path_factory):
    """A 715 MB pSp checkpoint with the published names and shapes at 64 px, filled by the rule."""
    state = {f"encoder.{k}": v for k, v in published_state("encoder_GradualStyleEncoder_n10_in3").items()}
    state |= {f"decoder.{k}": v for k, v in published_state("generator_64").items()}
    path = tmp_path_factory.mktemp("published") / "psp.pt"
    torch.save({"state_dict": state, "latent_avg": gauss("pspavg64", (10, 512)) * 0.5, "opts": {}}, path)
    yield path
    path.unlink()


@pytest.mark.slow
def test_published_psp_file_at_full_size(published_file):
    stored = golden("psp_forward")
    psp = pspnb.load(published_file)
    with torch.no_grad():
        picture, codes = psp(image("psp0", 3, 256, 256)[None], return_codes=True)
    assert_close(codes, stored["plain_latent"][:1])
    for key, value in pieces(picture, "plain").items():
        assert_close(value, stored[key][:1])


def _peaks(code: str, *arguments) -> list[int]:
    """Bytes printed by a program that runs in a process of its own; `peak()` there is its largest resident size so far.

    Not `ru_maxrss`: a child inherits that of its parent, here the whole test session, and the test could not fail.
    """
    status = Path("/proc/self/status")
    if not status.exists() or "VmHWM" not in status.read_text():
        pytest.skip("measures memory by /proc/self/status, which this system does not have")
    preamble = """
        import sys, torch, pspnb
        def peak():
            lines = open("/proc/self/status").read().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    """
    command = [sys.executable, "-c", textwrap.dedent(preamble) + textwrap.dedent(code), *map(str, arguments)]
    return [int(v) for v in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


@pytest.mark.slow
def test_peak_memory_is_at_most_1_3_times_the_file(published_file):
    """Loading; and the first output, which touches all weights, needs the activations beside them but no second copy.

    What importing costs is subtracted.
    """
    code = """
        import pspnb.models.official
        torch.set_num_threads(1)
        before = peak()
        psp = pspnb.load(sys.argv[1])
        print(peak() - before)
        with torch.no_grad():
            psp(torch.zeros(1, 3, 256, 256))
        print(peak() - before)
    """
    loading, first_output = _peaks(code, published_file)
    size = published_file.stat().st_size
    assert loading <= 1.3 * size, f"{loading / size:.2f}"
    assert 0.9 * size < first_output <= 1.6 * size, f"{first_output / size:.2f}"


def test_peak_memory_of_an_nvidia_pickle(tmp_path):
    """The networks of the file that are not asked for are never decoded: a second copy of them would be 100 MB."""
    write_ada(tmp_path / "small.pkl", ada_tensors())
    write_ada(tmp_path / "large.pkl", ada_tensors(), discriminator={"b4.conv.weight": torch.zeros(1000, 25_000)})
    code = """
        pspnb.load_generator(sys.argv[1])
        before = peak()
        pspnb.load_generator(sys.argv[2])
        print(peak() - before)
    """
    [peak] = _peaks(code, tmp_path / "small.pkl", tmp_path / "large.pkl")
    size = (tmp_path / "large.pkl").stat().st_size
    assert size > 99e6 and 0.5 * size < peak <= 1.3 * size, f"{peak / size:.2f}"


def test_unknown_names_say_what_there_is(tmp_path):
    with pytest.raises(LoadError, match="no such file, and no shipped model"):
        pspnb.load("facets64/nonsense")
    with pytest.raises(LoadError, match="drive.google.com/file/d/1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0"):
        pspnb.load(tmp_path / "psp_ffhq_encode.pt")
