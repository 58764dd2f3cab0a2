"""Recipes: what `pspnb train TASK` builds, trains and ships."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from _tiny import tiny_arrays

from pspnb.cli import main
from pspnb.errors import LoadError, PspnbError
from pspnb.models import zoo
from pspnb.models.load import load_translator
from pspnb.models.runs import RunFolder
from pspnb.nn.encoders import GradualStyleEncoder, NaiveWPlusEncoder, WEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.recipes import encoders, starts, variants
from pspnb.recipes.recipe import EncoderRecipe
from pspnb.recipes.starts import images_seen
from pspnb.shipping import encoders as ship_encoders
from pspnb.shipping.weights import ENCODERS
from pspnb.tasks import TASKS
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.encoder_config import EncoderConfig

shipped = pytest.mark.skipif(
    "facets64/generator" not in zoo.available(), reason="facets64/generator is not shipped yet"
)


@pytest.fixture
def quick(monkeypatch):
    """Recipes of four steps on twelve pictures."""
    monkeypatch.setattr(
        encoders,
        "facets_arrays",
        lambda task, split, size, n=None, second=False, progress=True: tiny_arrays(
            12, labels=task.source.n_classes or None, paired=task.paired
        ),
    )
    config = EncoderConfig(
        steps=4, lr=1e-3, average=0.5, validate_every=2, checkpoint_every=2, picture_every=0, log_every=1
    )
    monkeypatch.setattr(encoders, "TRAINING", {("facets64", "cpu"): encoders.Schedule(batch=4, config=config)})


def small_generator() -> Generator:
    return Generator(64, style_dim=16, n_mlp=1, channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 8}, noise=False)


def test_variants_change_what_they_say() -> None:
    g, task = small_generator(), TASKS["inversion"]
    build = lambda name: variants.build_psp(task, variants.VARIANTS[name], generator=g)  # noqa: E731
    psp = build("psp")
    assert isinstance(psp.encoder, GradualStyleEncoder) and set(psp.encoder.maps) == {0, 1, 2}
    assert isinstance(build("w").encoder, WEncoder) and isinstance(build("naive_wplus").encoder, NaiveWPlusEncoder)
    assert set(build("largest_map").encoder.maps) == {2} and set(build("smallest_map").encoder.maps) == {0}
    assert not build("from_zero").start_from_latent_avg and psp.start_from_latent_avg
    in_frontalization = {"no_inner", "no_outer", "even"}
    usual = [name for name in variants.VARIANTS if name not in in_frontalization]
    weights = {name: variants.loss_weights(task, variants.VARIANTS[name]) for name in usual}
    assert weights["no_id"] == replace(task.weights, id=0.0) and weights["no_lpips"] == replace(task.weights, lpips=0.0)
    assert variants.loss_weights(task, variants.VARIANTS["no_id"], {"w_norm": 0.5}).w_norm == 0.5
    assert all(weights[n] == task.weights for n in weights if n not in ("no_id", "no_lpips"))
    frontal = TASKS["frontalization"]
    changed = {name: variants.loss_weights(frontal, variants.VARIANTS[name]) for name in in_frontalization}
    assert changed["no_inner"] == replace(frontal.weights, l2_crop=0.0, lpips_crop=0.0)
    assert changed["no_outer"] == replace(frontal.weights, l2=0.0, lpips=0.0)
    even = changed["even"]
    assert (even.l2, even.lpips, even.id) == (even.l2_crop, even.lpips_crop, frontal.weights.id)
    for name, other in (("no_inner", "inversion"), ("no_id", "sketch")):
        with pytest.raises(PspnbError, match=f"expected a variant that changes {other}"):
            variants.loss_weights(TASKS[other], variants.VARIANTS[name])
    w = build("w").encode(torch.zeros(1, 3, 64, 64))
    assert torch.equal(w - g.latent_avg, (w - g.latent_avg)[:, :1].expand_as(w)), (
        "a W encoder gives one style to all layers"
    )


def test_a_seed_gives_the_same_start_whatever_the_global_state() -> None:
    task, variant, g = TASKS["inversion"], variants.VARIANTS["psp"], small_generator()
    torch.manual_seed(1)
    a = variants.build_psp(task, variant, generator=g, seed=3)
    before = torch.get_rng_state()
    b = variants.build_psp(task, variant, generator=g, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    c = variants.build_psp(task, variant, generator=g, seed=4)
    pairs = list(zip(a.encoder.parameters(), b.encoder.parameters(), c.encoder.parameters(), strict=True))
    assert all(torch.equal(x, y) for x, y, _ in pairs) and any(not torch.equal(x, z) for x, _, z in pairs)


@shipped
@pytest.mark.parametrize("variant", ENCODERS)
def test_every_encoder_fits_into_a_shipped_file(variant) -> None:
    from pspnb.shipping.zoo_file import MAX_BYTES, half

    g = zoo.load_shipped("facets64/generator")
    psp = variants.build_psp(TASKS["inversion"], variants.VARIANTS[variant], generator=g)
    size = sum(t.numel() * t.element_size() for t in half(psp.encoder.state_dict()).values())
    assert size < MAX_BYTES - 50_000
    assert psp(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)


@shipped
def test_trained_shipped_and_loaded_again(quick, tmp_path, monkeypatch) -> None:
    outcome = encoders.train_encoder(
        EncoderRecipe(task="inversion", variant="no_id"), out=tmp_path / "run", progress=False
    )
    assert outcome.finished and outcome.best is not None
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert "loss_lpips" in log[0] and "loss_id" not in log[0]
    history = tmp_path / "history.json"
    history.write_text('{"other": 1}')
    ship_encoders.add_history(tmp_path / "run", "inversion_no_id", history)
    curves = json.loads(history.read_text())
    assert curves["other"] == 1 and curves["inversion_no_id"]["images"] == [8, 16]
    assert curves["inversion_no_id"]["val_loss"][-1] == pytest.approx(log[-1]["val_loss"], abs=1e-5)
    with pytest.raises(PspnbError, match="validations"):
        ship_encoders.add_history(tmp_path, "x", history)
    own_zoo = tmp_path / "zoo"
    own_zoo.mkdir()
    for file in zoo.ZOO.glob("facets64_generator.*"):
        (own_zoo / file.name).symlink_to(file)
    path = ship_encoders.ship_encoder(tmp_path / "run", variant="no_id", folder=own_zoo)
    monkeypatch.setattr(zoo, "ZOO", own_zoo)
    again = zoo.load_shipped("facets64/inversion_no_id")
    mine = load_translator(tmp_path / "run")
    x = tiny_arrays(2).images.float() / 127.5 - 1
    assert (again(x) - mine(x)).abs().max() < 0.05  # weights rounded to 16 bits
    assert path.stat().st_size < 4_000_000 and not any(k.startswith("decoder") for k in torch_keys(path))
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["task"] == "inversion" and card["variant"] == "no_id" and "val_loss" in card["metrics"]

    card["generator"]["sha256"] = "0" * 64
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(LoadError, match="another facets64/generator"):
        zoo.load_shipped("facets64/inversion_no_id")


def torch_keys(path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return list(file.keys())


@shipped
def test_a_run_on_another_generator_is_refused(quick, tmp_path) -> None:
    encoders.train_encoder(EncoderRecipe(task="inversion"), out=tmp_path, progress=False)
    other = zoo.load_shipped("facets64/generator")
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    with pytest.raises(PspnbError, match="another generator"):
        load_translator(tmp_path, generator=other)


@shipped
@pytest.mark.parametrize("task", ["frontalization", "sketch", "segmentation", "super_resolution", "inpainting"])
def test_every_task_trains_from_its_recipe(quick, tmp_path, task) -> None:
    """The losses are those that the task weighs, and the best encoder is the one of the lowest validation."""
    outcome = encoders.train_encoder(EncoderRecipe(task=task, steps=4), out=tmp_path, progress=False)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    validations = [record for record in log if "val_loss" in record]
    assert outcome.finished and [r["step"] for r in validations] == [2, 4]
    best = min(validations, key=lambda r: r["val_loss"])
    assert outcome.best == best["val_loss"] and load_checkpoint(RunFolder(tmp_path).to_use())["step"] == best["step"]
    weights = {name: value for name, value in asdict(TASKS[task].weights).items() if value}
    parts = {name: best[f"val_loss_{name}"] for name in weights}
    assert {k for k in best if k.startswith("val_loss_")} == {f"val_loss_{name}" for name in weights}
    assert best["val_loss"] == pytest.approx(sum(weights[name] * parts[name] for name in weights), rel=1e-3)
    assert len({round(record["val_loss"], 6) for record in validations}) == 2, "expected an encoder that moved"


@shipped
def test_command_line(quick, tmp_path, capsys) -> None:
    assert main(["train", "inversion", "--out", str(tmp_path / "r"), "--steps", "2", "--batch", "4"]) == 0
    assert "step 2 (done), best validation loss" in capsys.readouterr().out
    assert main(["train", "inversion", "--out", str(tmp_path / "r")]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["train", "inversion", "--out", str(tmp_path / "r"), "--steps", "3", "--batch", "4", "--resume"]) == 0
    assert "step 3" in capsys.readouterr().out
    recipe = RunFolder(tmp_path / "r").read_recipe()
    assert {"task": "inversion", "variant": "psp", "scale": "facets64"}.items() <= recipe.items()
    assert recipe["generator"] == "facets64/generator" and recipe["architecture"]["class"] == "GradualStyleEncoder"
    assert main(["train", "inversion", "--variant", "no_id", "--out", str(tmp_path / "r"), "--resume"]) == 2
    assert "is a run of inversion psp facets64" in capsys.readouterr().err


@shipped
def test_a_run_is_a_row_of_an_ablation(quick, tmp_path) -> None:
    from pspnb.measure.ablate_runs import ablation_rows
    from pspnb.measure.on_facets import facets_instruments

    encoders.train_encoder(
        EncoderRecipe(task="inversion", variant="w", lambdas={"id": 0.5}), out=tmp_path / "w-id", progress=False
    )
    judge, distance = facets_instruments()
    x = tiny_arrays(6).images.float() / 127.5 - 1
    row = ablation_rows(tmp_path, images=x, judge=judge, distance=distance)["rows"]["w-id"]
    assert row["lambdas"] == {"id": 0.5, "l2": 1.0, "lpips": 0.8} and set(row["metrics"]) >= {"similarity", "mse"}
    psp = load_translator(tmp_path / "w-id")
    with torch.no_grad():
        expected = (psp.encode(x) - psp.latent_avg).norm(dim=2).mean(0)
    assert row["offset"] == pytest.approx(expected.tolist(), rel=1e-5)


@shipped
def test_a_run_starts_from_a_trained_encoder(quick, tmp_path, capsys) -> None:
    """From a shipped name and from another run's folder; the card of what comes of it says so."""
    argv = ["train", "inversion", "--variant", "w", "--out", str(tmp_path / "a"), "--steps", "2", "--lr", "1e-9"]
    assert main([*argv, "--init", "facets64/inversion_w", "--decay-from", "0"]) == 0
    given, trained = zoo.load_shipped("facets64/inversion_w"), load_translator(tmp_path / "a")
    for (name, theirs), mine in zip(given.encoder.named_parameters(), trained.encoder.parameters(), strict=True):
        assert torch.allclose(theirs, mine, atol=1e-6), name
    recipe = EncoderRecipe(task="inversion", variant="w", init=str(tmp_path / "a"))
    outcome = encoders.train_encoder(recipe, out=tmp_path / "b", progress=False)
    assert outcome.finished and RunFolder(tmp_path / "b").read_recipe()["init"] == str(tmp_path / "a")
    # Both know what their start had seen, and the curve of the second goes on where that of the first ends.
    shipped_images = images_seen("facets64/inversion_w")
    own = [load_checkpoint(RunFolder(tmp_path / r).to_use()) for r in "ab"]
    own = [state["step"] * state["identity"]["batch"] for state in own]
    assert shipped_images > 10_000 and RunFolder(tmp_path / "a").read_recipe()["init_images"] == shipped_images
    assert images_seen(tmp_path / "b") == shipped_images + sum(own)
    history = tmp_path / "history.json"
    history.write_text(json.dumps({"w": {"images": [8, shipped_images, 10**9], "val_loss": [3.0, 2.0, 1.0]}}))
    for _ in range(2):  # again changes nothing
        ship_encoders.add_history(tmp_path / "a", "w", history)
    curve = json.loads(history.read_text())["w"]
    assert curve["images"][:2] == [8, shipped_images] and curve["val_loss"][:2] == [3.0, 2.0]
    assert curve["images"][-1] == shipped_images + own[0] and len(curve["val_loss"]) == len(curve["images"])
    for file in zoo.ZOO.glob("facets64_generator.*"):
        (tmp_path / file.name).symlink_to(file)
    card = ship_encoders.ship_encoder(tmp_path / "a", variant="w", folder=tmp_path).with_suffix(".json")
    assert json.loads(card.read_text())["init"] == "facets64/inversion_w"
    assert json.loads(card.read_text())["images"] == shipped_images + own[0]
    for wrong, message in (
        (["inversion", "--init", "facets64/inversion_w"], "choose the task and the --variant"),
        (["inversion", "--init", "facets64/identity"], "expected a model that translates images"),
        (["inversion", "--init", "nowhere.pt"], "nowhere.pt"),
    ):
        assert main(["train", *wrong, "--out", str(tmp_path / "c")]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "c" / "recipe.json").exists()


@shipped
def test_lambdas_of_ones_own(quick, tmp_path) -> None:
    """They reach the loss, stand in the run's identity, and another set is another run."""
    argv = ["train", "inversion", "--variant", "w", "--out", str(tmp_path), "--steps", "1"]
    assert main([*argv, "--lambdas", "id=0, w_norm=0.25"]) == 0
    log = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert "loss_w_norm" in log and "loss_id" not in log
    assert load_checkpoint(RunFolder(tmp_path).to_use())["identity"]["weight of w_norm"] == 0.25
    assert main([*argv, "--resume", "--lambdas", "id=0, w_norm=0.5"]) == 2


def test_the_generator_of_a_file_to_start_from_is_the_default(quick, tmp_path, monkeypatch) -> None:
    """At the paper's scale a pSp file brings its generator; another one can still be asked for."""
    from pspnb.nn.backbones import FaceEmbedder

    g = small_generator()
    given = variants.build_psp(TASKS["inversion"], variants.VARIANTS["psp"], generator=g)
    seen: list = []

    def stop(*, generator, **_):
        seen.append(generator)
        raise PspnbError("far enough")

    monkeypatch.setattr(encoders, "load_translator", lambda file: given)
    face = FaceEmbedder(input_size=16, units=(1, 1, 1, 1), widths=(8, 8, 8, 16, 16), embedding_dim=8)
    monkeypatch.setattr(encoders, "load_identity", lambda file: face)
    schedule = encoders.Schedule(batch=4, config=EncoderConfig(steps=1))
    monkeypatch.setattr(encoders, "TRAINING", {("ffhq1024", "cpu"): schedule})
    monkeypatch.setattr(encoders, "LPIPSLoss", torch.nn.Identity)
    monkeypatch.setattr(encoders, "build_psp", lambda task, kind, **k: stop(**k))
    with pytest.raises(PspnbError, match="far enough"):
        recipe = EncoderRecipe(task="inversion", scale="ffhq1024", init="x.pt", identity="r.pth")
        encoders.train_encoder(recipe, out=tmp_path, progress=False)
    assert seen == [g]


@shipped
def test_a_run_is_evaluated_from_the_command_line(quick, tmp_path, capsys, monkeypatch) -> None:
    from pspnb.measure import evaluate_encoder

    monkeypatch.setattr(
        evaluate_encoder,
        "facets_arrays",
        lambda task, split, size, n=None, second=False, progress=True: tiny_arrays(6),
    )
    encoders.train_encoder(EncoderRecipe(task="inversion", variant="w"), out=tmp_path / "r", progress=False)
    assert main(["evaluate", str(tmp_path / "r"), "--out", str(tmp_path / "e")]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())["metrics"]
    assert set(metrics) == {"similarity", "lpips", "mse", "psnr", "ssim"}
    assert f"mse          {metrics['mse']['value']:.4f} [" in printed
    assert (
        metrics["mse"]["lo"] <= metrics["mse"]["value"] <= metrics["mse"]["hi"]
        and (tmp_path / "e" / "worst.png").is_file()
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "expected a run or model, or --table1"),
        (["facets64/inversion", "--table1"], "expected a run or model, or --table1"),
        (["nowhere.pt"], "nowhere.pt"),
        (["facets64/generator"], "expected a model that translates images"),
        (["."], "expected the folder of a run"),
    ],
)
def test_mistakes_of_evaluation_are_one_line(arguments, message, tmp_path, capsys) -> None:
    assert main(["evaluate", *arguments, "--out", str(tmp_path / "e")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nonsense"], "expected a task among inversion"),
        (["inversion", "--variant", "x"], "expected a variant among psp"),
        (["inversion", "--scale", "ffhq"], "expected a scale among facets64"),
        (["inversion", "name"], "expected no name"),
        (["inversion", "--lambdas", "id"], "expected loss weights such as id=0.5"),
        (["inversion", "--lambdas", "x=1"], "expected loss weights among id, l2"),
        (["inversion", "--lambdas", "id=-1"], "at least 0"),
        (["inversion", "--lambdas", "id=0,l2=0,lpips=0"], "nothing to train on"),
        (["inversion", "--scale", "ffhq1024"], "--generator FILE"),
        (["inversion", "--sources", "somewhere"], "--data FOLDER"),
        (["segmentation", "--data", "somewhere"], "--sources FOLDER"),
    ],
)
@shipped
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys) -> None:
    assert main(["train", *arguments, "--out", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "r" / "checkpoint.pt").exists()


def test_the_encoder_starts_from_face_recognition(tmp_path, monkeypatch) -> None:
    """Stem and body are copied, heads are not; a sketch's stem of one channel stays; another architecture is refused."""
    from pspnb.nn.backbones import FaceEmbedder

    small = {"units": (1, 1, 1, 1), "widths": (8, 8, 8, 16, 16)}
    recognition = FaceEmbedder(input_size=32, embedding_dim=8, **small)
    monkeypatch.setattr(starts, "load_identity", lambda file: recognition)
    encoder = GradualStyleEncoder(10, style_dim=8, input_size=64, **small)
    head = encoder.styles[0].linear.weight.clone()
    starts.start_from_recognition(encoder, "x.pth")
    theirs, mine = recognition.state_dict(), encoder.state_dict()
    assert all(torch.equal(mine[k], v) for k, v in theirs.items() if k.startswith(("input_layer", "body")))
    assert torch.equal(head, encoder.styles[0].linear.weight)
    sketch = GradualStyleEncoder(10, style_dim=8, input_size=64, in_channels=1, **small)
    stem = sketch.input_layer[0].weight.clone()
    starts.start_from_recognition(sketch, "x.pth")
    assert torch.equal(stem, sketch.input_layer[0].weight)
    assert torch.equal(sketch.state_dict()["body.0.res_layer.1.weight"], theirs["body.0.res_layer.1.weight"])
    wide = GradualStyleEncoder(10, style_dim=8, input_size=64, units=(1, 1, 1, 1), widths=(8, 8, 8, 8, 8))
    with pytest.raises(PspnbError, match="expected an IR-SE50"):
        starts.start_from_recognition(wide, "x.pth")


@pytest.mark.skipif("facets64/inversion" not in zoo.available(), reason="facets64/inversion is not shipped yet")
def test_shipped_encoders_reconstruct_people_they_never_saw() -> None:
    """Far better than the mean latent's picture, and more styles beyond one do help."""
    from pspnb.facets import render, sample_factors

    x = render(sample_factors("test", range(48)), 64).image
    error = {}
    for variant in ENCODERS:
        psp = zoo.load_shipped(variants.model_name("inversion", variant))
        with torch.no_grad():
            error[variant] = float((psp(x) - x).square().mean())
            mean = float((psp.decode(psp.latent_avg[None]) - x).square().mean())
        assert error[variant] < 0.35 * mean, f"{variant}: {error[variant]:.4f}, mean latent {mean:.4f}"
    assert error["psp"] < 0.8 * error["w"] and error["naive_wplus"] < 0.8 * error["w"]


@shipped
def test_recognition_of_facets_sees_the_whole_image() -> None:
    """Its heads are not cut out as FFHQ's are: what lies outside of the published box counts."""
    _, identity = encoders.facets_losses()
    inside = tiny_arrays(2).images.float() / 127.5 - 1
    changed = inside.clone()
    changed[..., :4, :] = 1.0  # above the box, which begins a seventh below the top
    target = torch.zeros_like(inside)
    assert not torch.allclose(identity(inside, target).to_target, identity(changed, target).to_target, atol=1e-4)


def test_a_sketch_s_encoder_starts_from_that_of_photographs() -> None:
    """All but the stem, whose kernels are of another number of channels."""
    g = small_generator()
    given, mine = (
        variants.build_psp(TASKS[n], variants.VARIANTS["psp"], generator=g, seed=s)
        for n, s in (("inversion", 1), ("sketch", 2))
    )
    g.latent_avg.fill_(0.5)
    stem = mine.encoder.input_layer[0].weight.clone()
    starts.start_from(mine, given, name="given")
    theirs, own = given.encoder.state_dict(), mine.encoder.state_dict()
    assert torch.equal(own["input_layer.0.weight"], stem)
    assert all(torch.equal(own[key], theirs[key]) for key in own if key != "input_layer.0.weight")
    other = variants.build_psp(TASKS["sketch"], variants.VARIANTS["w"], generator=g)
    with pytest.raises(PspnbError, match="expected an encoder like"):
        starts.start_from(other, given, name="given")
