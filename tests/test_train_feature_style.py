"""Training the Feature-Style encoder: its loss written out, its batches, its rate, one batch learned by heart, a resumed run."""

from contextlib import closing

import pytest
import torch
import torch.nn.functional as F
from _tiny import equal, tiny_arrays, tiny_feature_style
from test_losses_feature_style import parsing, perceptual, recognition
from torch import nn

import pspnb
from pspnb.errors import PspnbError
from pspnb.losses import (
    FeatureStyleLoss,
    FeatureStyleWeights,
    MultiLayerSimilarity,
    MultiScalePerceptual,
    TwoInversions,
)
from pspnb.models.feature_style import FeatureStyle
from pspnb.models.runs import fingerprint
from pspnb.tasks import TASKS
from pspnb.training.callbacks import Callback
from pspnb.training.checkpoint import load_checkpoint
from pspnb.training.data import Batches
from pspnb.training.feature_style import BothInversions, FeatureStyleConfig, FeatureStyleStepper
from pspnb.training.journal import read_journal
from pspnb.training.loop import Every, fit
from pspnb.training.mixed_batches import MixedBatches


def whole_loss(weights: FeatureStyleWeights | None = None, **options) -> FeatureStyleLoss:
    """Every term, on tiny networks."""
    return FeatureStyleLoss(
        weights or FeatureStyleWeights(),
        perceptual=MultiScalePerceptual(perceptual()),
        identity=MultiLayerSimilarity(recognition()),
        parsing=MultiLayerSimilarity(parsing()),
        **options,
    )


def stepper(config: FeatureStyleConfig, *, k: int = 3, images="both", loss=None, batch: int = 4, **options):
    model = tiny_feature_style(k, noise=False, **options)
    batches = MixedBatches(tiny_arrays(), model.decoder, batch=batch, images=images)
    validation = Batches(tiny_arrays(4, seed=9), TASKS["inversion"], batch=2)
    return FeatureStyleStepper(model, batches, loss or whole_loss(), config, validation=validation)


# ---- loss ----------------------------------------------------------------------------------------------------------------------


def test_the_total_is_equation_8():
    """Row by row, from the networks themselves: pixel loss of synthetic images and G(w) only, all else of both inversions."""
    draw = torch.Generator().manual_seed(0)
    x, y1, y2 = (torch.rand(4, 3, 64, 64, generator=draw) * 2 - 1 for _ in range(3))
    feature, own = (torch.randn(4, 8, 8, 8, generator=draw) for _ in range(2))
    synthetic = torch.tensor([False, True, False, True])
    seen = TwoInversions(target=x, by_codes=y1, by_feature=y2, feature=feature, own=own, counts=synthetic * 2.0)
    total, log = whole_loss()(seen)

    def layers(net, y):
        pairs = zip(net.taps(y), net.taps(x), strict=True)
        return sum(1 - F.cosine_similarity(p.flatten(1), q.flatten(1)) for p, q in pairs).mean()

    def scales(y):
        net = perceptual()
        return sum(net(F.avg_pool2d(y, s), F.avg_pool2d(x, s)) for s in (1, 2, 4)).mean()

    with torch.no_grad():
        expected = (y1 - x)[[1, 3]].square().mean() + 0.01 * (feature - own).square().mean()
        for y in (y1, y2):
            expected += 0.2 * scales(y) + 0.1 * layers(recognition(), y) + 0.1 * layers(parsing(), y)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=1e-5)
    names = ["mse", "lpips_w", "lpips_f", "id_w", "id_f", "parsing_w", "parsing_f", "feature"]
    assert set(log) == {f"loss_{name}" for name in names} | {"loss"} and log["loss"] == total


def test_losses_of_weight_0_need_no_network():
    car = FeatureStyleWeights(id=0.0, parsing=0.0)  # equation 5
    loss = FeatureStyleLoss(car, perceptual=MultiScalePerceptual(perceptual()))
    assert set(loss.networks) == {"lpips"}
    with pytest.raises(ValueError, match="network for the loss id"):
        FeatureStyleLoss(FeatureStyleWeights(), perceptual=MultiScalePerceptual(perceptual()))
    with pytest.raises(ValueError, match="finite loss weights"):
        FeatureStyleWeights(mse=-1.0)
    with pytest.raises(ValueError, match="at least one loss weight"):
        FeatureStyleWeights(mse=0.0, lpips=0.0, feature=0.0, id=0.0, parsing=0.0)


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3, 9])
def test_both_inversions_are_those_of_the_model(k, noise):
    model = tiny_feature_style(k, noise=noise).eval()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    by_codes, by_feature, feature, own = BothInversions(model)(x, None, "const")
    w, found = model.encode(x)
    assert torch.equal(by_codes, model.decode(w))
    if k == 0:
        assert found is by_feature is feature is own is None and torch.equal(model(x), by_codes)
        return
    assert torch.equal(by_feature, model(x)) and torch.equal(feature, found)
    assert torch.equal(own, model.decoder.features(w, upto=k)[0])
    smaller = BothInversions(model)(x, 32, "const")
    torch.testing.assert_close(smaller[1], F.avg_pool2d(by_feature, 2))


# ---- batches -------------------------------------------------------------------------------------------------------------------


def some(batches: MixedBatches, n: int, first: int = 0) -> list[torch.Tensor]:
    with closing(batches.endless(first)) as pairs:
        return [next(pairs).target for _ in range(n)]


def test_half_of_a_batch_is_real_and_half_generated():
    model, arrays = tiny_feature_style(noise=False), tiny_arrays()
    batches = MixedBatches(arrays, model.decoder, batch=4)
    known = {image.numpy().tobytes() for image in torch.cat([arrays.images, arrays.images.flip(3)])}
    for target in some(batches, 3):
        levels = ((target + 1) * 127.5).round().clamp(0, 255).byte()
        real = [image.numpy().tobytes() in known for image in levels]
        assert real == [True, False, True, False]
        assert batches.synthetic(0, 4).tolist() == [not r for r in real]
    assert batches.synthetic(1, 2).tolist() == [True, False] and batches.share == 0.5


@pytest.mark.parametrize(("images", "share"), [("real", 0.0), ("synthetic", 1.0)])
def test_one_kind_alone(images, share):
    batches = MixedBatches(tiny_arrays(), tiny_feature_style(noise=False).decoder, batch=3, images=images)
    assert some(batches, 1)[0].shape == (3, 3, 64, 64) and batches.share == share
    assert batches.synthetic(0, 3).all() == batches.synthetic(0, 3).any() == bool(share)


@pytest.mark.parametrize("images", ["both", "real", "synthetic"])
def test_a_batch_hangs_on_seed_and_step_alone(images):
    make = lambda seed: MixedBatches(  # noqa: E731
        tiny_arrays(), tiny_feature_style(noise=False).decoder, batch=4, images=images, seed=seed
    )
    whole = some(make(0), 4)
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], some(make(0), 2, first=2), strict=True))
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(whole[0], some(make(1), 1)[0])


def test_odd_batches_cannot_be_halved():
    with pytest.raises(ValueError, match="even batch.*got 3"):
        MixedBatches(tiny_arrays(), tiny_feature_style().decoder, batch=3)


# ---- the step ------------------------------------------------------------------------------------------------------------------


def test_rate_is_a_tenth_for_the_last_sixth():
    """12 epochs, the last two at a tenth."""
    s = stepper(FeatureStyleConfig(steps=120, lr=1e-4))
    rates = [s.rate_at(i) for i in range(120)]
    assert rates[:100] == [1e-4] * 100 and rates[100:] == pytest.approx([1e-5] * 20)


def test_accumulation_gives_the_gradient_of_the_whole_batch(monkeypatch):
    """The mean over synthetic images does not depend on how a batch is divided, not even into parts of one row."""
    monkeypatch.setattr(
        FeatureStyle, "train", lambda self, mode=True: nn.Module.train(self, False)
    )  # BatchNorm sees parts
    gradients = []
    for parts in (1, 2, 4):
        s = stepper(FeatureStyleConfig(steps=1, lr=1e-30, accumulate=parts), batch=4)
        s.train_step()
        gradients.append(torch.cat([p.grad.flatten() for p in s.weights]))
        s.close()
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("rgb", ["w", "none", "predicted"])
def test_only_the_encoder_is_trained_and_all_of_it(rgb):
    s = stepper(FeatureStyleConfig(steps=1), rgb=rgb)
    before = fingerprint(s.model.decoder)
    s.train_step()
    assert all(p.grad is None for p in s.model.decoder.parameters()) and fingerprint(s.model.decoder) == before
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in s.weights)
    s.close()


VARIANTS = {
    "whole": {},
    "without F": {"k": 0},
    "real": {"images": "real"},
    "synthetic": {"images": "synthetic"},
    "faceless": {"weights": FeatureStyleWeights(id=0.0, parsing=0.0)},
    "predicted skip": {"rgb": "predicted"},
}


class OneBatch(MixedBatches):
    """The first batch for ever."""

    def endless(self, first_step=0, *, device="cpu"):
        with closing(super().endless(0, device=device)) as pairs:
            pair = next(pairs)
        while True:
            yield pair


@pytest.mark.parametrize("name", VARIANTS)
def test_overfits_one_batch(name):
    """Four images, seen again and again: the loss falls to a fraction, and G(F, w) comes nearer than G(w)."""
    options = dict(VARIANTS[name])
    if "weights" in options:
        options["loss"] = whole_loss(options.pop("weights"))
    s = stepper(FeatureStyleConfig(steps=100, lr=5e-3, tenth_from=1.0), **options)
    s.batches.__class__ = OneBatch
    losses = [{k: float(v) for k, v in s.train_step().items()} for _ in range(s.steps)]
    s.close()
    first, last = losses[0], min(losses[-20:], key=lambda step: step["loss"])  # single steps of Adam are noisy
    assert last["loss"] < 0.5 * first["loss"], f"{first['loss']:.3f} -> {last['loss']:.3f}"
    if s.model.k and name != "synthetic":  # codes alone can redraw what codes drew
        assert last["loss_lpips_f"] < last["loss_lpips_w"], f"{last}"


# ---- a run ---------------------------------------------------------------------------------------------------------------------


class Kill(Callback):
    """An exception out of the blue: nothing is saved on the way out."""

    def __init__(self, step):
        self.when = step

    def log(self, step, record):
        if step == self.when:
            raise ZeroDivisionError


def train(out, *, resume=False, kill=None, **changes) -> FeatureStyle:
    config = FeatureStyleConfig(**{"steps": 8, "lr": 5e-3, "average": 0.9, **changes})
    s = stepper(config)
    about = {"kind": "encoder", "task": "inversion", "architecture": ARCHITECTURE, "generator": "somewhere"}
    every = Every(log=1, pictures=4, validate=3, checkpoint=2)
    fit(s, out, about=about, every=every, callbacks=[Kill(kill)], resume=resume, progress=False)
    return s.model


ARCHITECTURE = {
    "class": "FeatureStyleEncoder",
    "kwargs": {
        "n_styles": 10, "k": 3, "feature_shape": [8, 8, 8], "style_dim": 8, "input_size": 64, "units": [1, 1, 1, 1],
        "widths": [8, 8, 8, 16, 16],
    },
}  # fmt: skip


def test_resumed_is_uninterrupted(tmp_path):
    """Killed at a checkpoint and between two, across the change of the rate: the same weights to the bit, the same log."""
    whole = train(tmp_path / "whole")
    for i, kill in enumerate((3, 6, 7)):
        with pytest.raises(ZeroDivisionError):
            train(tmp_path / "killed", kill=kill, resume=i > 0)
    again = train(tmp_path / "killed", resume=True)
    assert equal(dict(again.encoder.state_dict()), dict(whole.encoder.state_dict()))
    logs = [
        [{k: v for k, v in line.items() if k != "images_per_s"} for line in read_journal(tmp_path / name / "log.jsonl")]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
    assert [line["lr"] for line in logs[0] if "lr" in line] == pytest.approx([5e-3] * 7 + [5e-4])
    assert (tmp_path / "whole" / "pictures" / "0000008.png").stat().st_size > 1000
    validation = next(line for line in logs[0] if "val_loss" in line)
    assert "val_loss_mse" not in validation and validation["val_mse_f"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"lr": 1e-3}, "lr was 0.005, is 0.001"), ({"steps": 9}, "steps was 8, is 9")],
)
def test_a_run_goes_on_as_it_began(tmp_path, changes, message):
    train(tmp_path)
    with pytest.raises(PspnbError, match=message):
        train(tmp_path, resume=True, **changes)


def test_a_run_is_loaded(tmp_path):
    """Folder, best and latest: on the generator it was trained on, with the averaged weights."""
    trained = train(tmp_path)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    model = pspnb.load(tmp_path, generator=trained.decoder)
    assert isinstance(model, FeatureStyle) and model.k == 3 and model.task == "inversion"
    best = load_checkpoint(tmp_path / "best.pt")
    assert equal(dict(model.encoder.state_dict()), dict(best["encoder"]))
    latest = pspnb.load(tmp_path / "checkpoint.pt", generator=trained.decoder)
    average = load_checkpoint(tmp_path / "checkpoint.pt")["average"]
    assert torch.equal(latest.encoder.latent.weight, average["latent.weight"])
    assert latest(x).shape == (2, 3, 64, 64)
    with pytest.raises(PspnbError, match="trained on another generator"):
        pspnb.load(tmp_path, generator=tiny_feature_style(seed=1, noise=False).decoder)
