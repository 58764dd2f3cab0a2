"""What was trained can be used: runs, their checkpoints and their exports wherever a model or a generator is expected."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from _files import psp_content, tiny_generator, tiny_psp
from _golden import uint8_image
from PIL import Image

import pspnb
from pspnb.cli import main
from pspnb.editing.translate import task_of
from pspnb.errors import LoadError, PspnbError
from pspnb.measure import evaluate_encoder
from pspnb.models import official, zoo
from pspnb.models.load import load_run, load_translator
from pspnb.models.psp import PSP
from pspnb.nn.instruments import ParsingNet
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes import encoders
from pspnb.recipes.encoders import train_encoder
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.scales import SCALES
from pspnb.recipes.starts import images_seen

pytestmark = pytest.mark.skipif("facets64/generator" not in zoo.available(), reason="needs the shipped generator")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight photographs, and runs of one step: a generator, an encoder on it, encoders on the shipped one."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "photos").mkdir()
    for i in range(8):
        Image.fromarray(uint8_image(f"p{i}", 64, 64, 3)).save(folder / "photos" / f"{i}.png")
    one = EncoderRecipe(task="inversion", data=folder / "photos", steps=1, batch=2)
    run = {"progress": False, "device": "cpu"}
    out = ["--out", f"{folder}/gan", "--images", "8", "--batch", "4", "--steps", "1", "--device", "cpu"]
    assert main(["train", "generator", *out]) == 0
    train_encoder(one, out=folder / "mine", **run)
    train_encoder(replace(one, task="frontalization", generator=str(folder / "gan")), out=folder / "on_gan", **run)
    train_encoder(replace(one, variant="w"), out=folder / "w", **run)
    train_encoder(replace(one, variant="naive_wplus"), out=folder / "wplus", **run)
    train_encoder(replace(one, variant="from_zero"), out=folder / "from_zero", **run)
    return folder


def _draw(model: PSP) -> torch.Tensor:
    x = torch.linspace(-1, 1, 3 * model.input_size**2).reshape(1, 3, model.input_size, model.input_size)
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("name", ["mine", "w", "wplus", "from_zero", "on_gan"])
def test_folder_checkpoint_and_export_are_one_model(world, tmp_path, name):
    model = pspnb.load(world / name)
    assert isinstance(model, PSP) and not model.training and model.input_size == 64
    assert model.start_from_latent_avg == (name != "from_zero")
    shutil.copy(world / name / "checkpoint.pt", tmp_path / "elsewhere.pt")  # it knows itself what it is
    official.save_psp(model, tmp_path / "export.pt")
    for other in (world / name / "checkpoint.pt", tmp_path / "elsewhere.pt", tmp_path / "export.pt"):
        again = pspnb.load(other)
        assert isinstance(again, PSP) and (again.task, again.encoder.units) == (model.task, model.encoder.units)
        assert torch.equal(_draw(again), _draw(model)), other


def test_the_weights_are_the_averaged_ones(world):
    """The shipped recipe averages; without validation there is no best.pt that would hold the average."""
    state = torch.load(world / "mine" / "checkpoint.pt", weights_only=True)
    loaded = [p for _, p in pspnb.load(world / "mine").encoder.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(loaded, state["average"].values(), strict=True))
    raw = [state["encoder"][n] for n, _ in pspnb.load(world / "mine").encoder.named_parameters()]
    assert not all(torch.equal(a, b) for a, b in zip(loaded, raw, strict=True))


def test_a_run_that_does_not_say_what_it_is_is_refused(world, tmp_path):
    """It is written in the checkpoint, and beside it in recipe.json; with neither nothing is guessed."""
    state = torch.load(world / "w" / "checkpoint.pt", weights_only=True)
    del state["about"]
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(LoadError, match="does not say where its generator is"):
        pspnb.load(tmp_path)
    with pytest.raises(LoadError, match="does not say what it trained"):
        pspnb.load(tmp_path, generator="facets64/generator")
    shutil.copy(world / "w" / "recipe.json", tmp_path)
    assert torch.equal(_draw(pspnb.load(tmp_path)), _draw(pspnb.load(world / "w")))


def test_translate_evaluate_and_init_take_all_of_them(world, tmp_path, capsys):
    official.save_psp(pspnb.load(world / "mine"), tmp_path / "export.pt")
    pictures = []
    for i, model in enumerate((world / "mine", world / "mine" / "checkpoint.pt", tmp_path / "export.pt")):
        out = tmp_path / str(i)
        arguments = ["translate", "--model", str(model), "--input", str(world / "photos" / "0.png")]
        assert main([*arguments, "--output", str(out)]) == 0
        pictures.append((out / "0.png").read_bytes())
        assert task_of(load_translator(model)).name == "inversion"
        common = ["--data", str(world / "photos"), "--batch", "2", "--steps", "1", "--lr", "1e-12"]
        assert main(["train", "inversion", "--init", str(model), "--out", str(out / "run"), *common]) == 0
        before, after = pspnb.load(model).encoder.parameters(), pspnb.load(out / "run").encoder.parameters()
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True))
        assert images_seen(out / "run") == (2 if model.name == "export.pt" else 4)
    assert pictures[0] == pictures[1] == pictures[2]
    assert task_of(load_translator(world / "on_gan")).name == "frontalization"
    assert "written" in capsys.readouterr().out


def test_the_run_of_a_generator_is_a_generator(world):
    generator = pspnb.load_generator(world / "gan")
    state = torch.load(world / "gan" / "checkpoint.pt", weights_only=True)
    assert isinstance(generator, Generator) and not generator.training
    for key, value in generator.state_dict().items():
        torch.testing.assert_close(value, state["average"][key], rtol=0, atol=0)
    again = pspnb.load_generator(world / "gan" / "checkpoint.pt")
    z = torch.linspace(-1, 1, generator.style_dim)[None]
    with torch.no_grad():
        assert torch.equal(generator(z), again(z)) and torch.equal(generator.latent_avg, again.latent_avg)
    assert isinstance(pspnb.load(world / "gan"), Generator)
    for model in (world / "on_gan", "facets64/inversion"):
        assert isinstance(pspnb.load_generator(model), Generator)


def test_an_encoder_follows_its_generator(world, tmp_path, capsys):
    """It is looked for where training found it, must be the same, and can be given where it has moved."""
    shutil.copytree(world / "on_gan", tmp_path / "run")
    shutil.copytree(world / "gan", tmp_path / "moved")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    state["about"]["generator"] = str(tmp_path / "gone")
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(LoadError, match=r"its generator cannot be opened .*expected --generator FILE"):
        pspnb.load(tmp_path / "run")
    found = pspnb.load(tmp_path / "run", generator=tmp_path / "moved")
    assert torch.equal(_draw(found), _draw(pspnb.load(world / "on_gan")))
    with pytest.raises(LoadError, match="trained on another generator than facets64/generator"):
        pspnb.load(tmp_path / "run", generator="facets64/generator")
    arguments = ["translate", "--model", str(tmp_path / "run"), "--input", str(world / "photos" / "0.png")]
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 2
    assert main([*arguments, "--output", str(tmp_path / "o"), "--generator", str(tmp_path / "moved")]) == 0
    for other in ("facets64/inversion", world / "gan"):
        with pytest.raises(LoadError, match="takes a generator|needs no generator"):
            pspnb.load(other, generator="facets64/generator")


def test_an_instrument_and_strangers(world, tmp_path):
    arguments = ["train", "instrument", "parsing", "--images", "8", "--steps", "1", "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "parsing")]) == 0
    assert isinstance(pspnb.load(tmp_path / "parsing"), ParsingNet)
    with pytest.raises(LoadError, match="expected a generator, but .* is a ParsingNet"):
        pspnb.load_generator(tmp_path / "parsing")
    with pytest.raises(PspnbError, match="expected a model that translates images, .* is a ParsingNet"):
        load_translator(tmp_path / "parsing")
    torch.save(psp_content(tiny_psp()), tmp_path / "x.pt")
    with pytest.raises(LoadError, match="expected a checkpoint of a training run"):
        load_run(tmp_path / "x.pt")
    state = torch.load(world / "mine" / "checkpoint.pt", weights_only=True)
    del state["encoder"]["input_layer.1.running_mean"]
    torch.save(state, tmp_path / "y.pt")
    with pytest.raises(LoadError, match="y.pt: expected the encoder tensor input_layer.1.running_mean"):
        pspnb.load(tmp_path / "y.pt")


def test_a_run_of_the_other_scale_is_used_like_any(world, tmp_path, monkeypatch):
    """ffhq1024 with small networks: a generator from a file, no losses that need downloads."""
    small = {"units": [1, 1, 1, 1], "widths": [4, 4, 4, 4, 8], "head_channels": 4}
    monkeypatch.setattr(encoders, "scale_named", lambda name: replace(SCALES[name], encoders={"psp": small}))
    official.save_generator(tiny_generator(), tmp_path / "g.pt")
    recipe = EncoderRecipe(
        task="inversion",
        scale="ffhq1024",
        data=world / "photos",
        steps=1,
        batch=2,
        lambdas={"id": 0.0, "lpips": 0.0},
    )
    run = {"progress": False, "device": "cpu"}
    train_encoder(replace(recipe, generator=str(tmp_path / "g.pt")), out=tmp_path / "a", **run)
    model = pspnb.load(tmp_path / "a")
    assert (model.input_size, model.decoder.size, model.encoder.widths) == (256, 32, (4, 4, 4, 4, 8))
    train_encoder(replace(recipe, init=str(tmp_path / "a")), out=tmp_path / "b", **run)
    assert torch.equal(pspnb.load(tmp_path / "b").decoder.input.input, model.decoder.input.input)
    official.save_psp(model, tmp_path / "export.pt")
    assert torch.equal(_draw(pspnb.load(tmp_path / "export.pt")), _draw(model))
    arguments = ["translate", "--model", str(tmp_path / "b"), "--input", str(world / "photos" / "0.png")]
    assert main([*arguments, "--output", str(tmp_path / "o")]) == 0 and Path(tmp_path / "o" / "0.png").exists()
    evaluated = ["evaluate", str(tmp_path / "b"), "--data", str(world / "photos"), "--out", str(tmp_path / "e")]
    monkeypatch.setattr(evaluate_encoder, "_instruments", lambda *_: (None, None, {}))
    assert main([*evaluated, "--device", "cpu"]) == 0 and (tmp_path / "e" / "metrics.json").exists()
