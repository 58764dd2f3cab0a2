"""What must hold for every loss, with small networks: zero at equality, gradients, frozen networks, clear errors."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from pspnb.errors import LoadError
from pspnb.losses import (
    IdentityLoss,
    LossInputs,
    LossTerm,
    LossWeights,
    LPIPSLoss,
    MoCoLoss,
    SimilarityLoss,
    build_terms,
    inner_face,
    l2,
    load_moco_resnet50,
    moco_resnet50,
    total_loss,
    w_norm,
)
from pspnb.nn.ops import widen


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).clamp(-1, 1)


class TinyNet(nn.Module):
    """A smooth embedding with BatchNorm and dropout, the two layers that betray a network left in train mode."""

    def __init__(self, input_size=24):
        super().__init__()
        self.input_size = input_size
        self.calls = 0
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.norm, self.drop = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5)
            self.head = nn.Linear(6, 5)

    def forward(self, x):
        self.calls += 1
        return self.head(self.drop(torch.tanh(self.norm(self.conv(x))).mean((2, 3))))


@pytest.fixture(scope="module")
def lpips():
    return LPIPSLoss(random_trunk=True)


@pytest.fixture
def identity():
    return IdentityLoss(TinyNet())


def moco():
    return MoCoLoss(TinyNet(224))


def value(loss, *args):
    result = loss(*args)
    return result if isinstance(result, torch.Tensor) else result.loss


def every_loss(lpips):
    return {"l2": l2, "lpips": lpips, "identity": IdentityLoss(TinyNet()), "moco": moco()}


@pytest.mark.parametrize("size", [32, 64, 72])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["l2", "lpips", "identity", "moco"])
def test_zero_at_equality_positive_elsewhere(lpips, name, batch, size):
    loss = every_loss(lpips)[name]
    a, b = noise(batch, 3, size, size), noise(batch, 3, size, size, seed=1)
    assert value(loss, a, a.clone()).item() == pytest.approx(0, abs=2e-7)
    assert value(loss, a, b).shape == () and value(loss, a, b) > 1e-5


@pytest.mark.parametrize("name", ["l2", "lpips", "identity", "moco"])
def test_batch_value_is_the_mean_of_the_samples(lpips, name):
    loss = every_loss(lpips)[name]
    a, b = noise(3, 3, 64, 64), noise(3, 3, 64, 64, seed=1)
    singles = torch.stack([value(loss, a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(value(loss, a, b), singles.mean(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["l2", "lpips", "identity", "moco"])
def test_target_gets_no_gradient_and_output_does(lpips, name):
    loss = every_loss(lpips)[name]
    output, target = noise(2, 3, 64, 64).requires_grad_(), noise(2, 3, 64, 64, seed=1).requires_grad_()
    value(loss, output, target).backward()
    assert target.grad is None
    assert output.grad.isfinite().all() and output.grad.abs().max() > 0
    if isinstance(loss, nn.Module):
        assert all(p.grad is None and not p.requires_grad for p in loss.parameters())


@pytest.mark.parametrize("name", ["l2", "lpips", "identity"])
def test_gradient_against_finite_differences(name):
    loss = {
        "l2": lambda: l2,
        "lpips": lambda: LPIPSLoss(random_trunk=True).double(),
        "identity": lambda: IdentityLoss(TinyNet()).double(),
    }[name]()
    output, target, direction = (noise(2, 3, 32, 32, seed=s, dtype=torch.float64) for s in range(3))
    output.requires_grad_()
    value(loss, output, target).backward()
    step = 1e-6  # small enough not to cross a kink of LPIPS's ReLUs
    with torch.no_grad():
        ends = [value(loss, output + sign * step * direction, target) for sign in (1, -1)]
    assert (output.grad * direction).sum().item() == pytest.approx(((ends[0] - ends[1]) / (2 * step)).item(), rel=1e-4)


def test_w_norm_by_hand_and_its_gradient():
    codes, average = noise(3, 4, 5, dtype=torch.float64).requires_grad_(), noise(4, 5, seed=1, dtype=torch.float64)
    by_hand = sum(((code - average) ** 2).sum() ** 0.5 for code in codes) / 3
    torch.testing.assert_close(w_norm(codes, average), by_hand)
    torch.testing.assert_close(w_norm(codes, average[0]), w_norm(codes, average[0].expand(4, 5)))
    assert torch.autograd.gradcheck(lambda c: w_norm(c, average), codes)


def test_w_norm_at_the_average_has_a_finite_gradient():
    same = torch.zeros(2, 4, 5, requires_grad=True)
    w_norm(same).backward()
    assert (same.grad == 0).all()


def test_l2_is_the_mean_square():
    assert l2(torch.full((2, 3, 4, 4), 1.5), torch.ones(2, 3, 4, 4)).item() == 0.25


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [(256, (35, 223), (32, 220)), (64, (9, 56), (8, 55)), (128, (18, 112), (16, 110)), (1024, (140, 892), (128, 880))],
)
def test_face_crop(size, rows, columns):
    rows_of, columns_of = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    crop = inner_face(torch.stack([rows_of, columns_of])[None].float())[0]
    assert (crop[0].min(), crop[0].max()) == (rows[0], rows[1] - 1)
    assert (crop[1].min(), crop[1].max()) == (columns[0], columns[1] - 1)


def test_identity_sees_only_the_face_and_pools_it(identity):
    images = noise(1, 3, 256, 256)
    inside, outside = images.clone(), images.clone()
    inside[:, :, 40:200, 40:200] = 1
    outside[:, :, :35] = 0
    outside[:, :, :, 220:] = 0
    assert identity(outside, images).loss.item() == pytest.approx(0, abs=1e-6)
    assert identity(inside, images).loss > 1e-4
    assert IdentityLoss(identity.net, box=None)(outside, images).loss > 1e-6
    face = images[:, :, 35:223, 32:220]
    torch.testing.assert_close(identity.prepare(images), nn.functional.adaptive_avg_pool2d(face, 24))
    # 64 px: 47 px of face are enlarged to 112 smoothly, so a ramp stays a ramp
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    enlarged = IdentityLoss(TinyNet(), input_size=112).prepare(ramp)
    assert enlarged.shape == (1, 3, 112, 112)
    assert (enlarged[0, 0, 0].diff()[2:-2] > 0).all()


def test_target_features_can_be_used_again(lpips, identity):
    a, b = noise(2, 3, 64, 64), noise(2, 3, 64, 64, seed=1)
    assert lpips(a, target_features=lpips.features(b)) == lpips(a, b)
    features = identity.embed(b)
    calls = identity.net.calls
    assert identity(a, target_features=features).loss == identity(a, b).loss
    assert identity.net.calls == calls + 1 + 2
    for loss in (lpips, identity):
        with pytest.raises(ValueError, match="exactly one of target and target_features"):
            loss(a)
        with pytest.raises(ValueError, match="exactly one of target and target_features"):
            loss(a, b, target_features=features if loss is identity else lpips.features(b))


def test_similarities_and_the_cost_of_the_source(identity):
    output, target, source = (noise(2, 3, 64, 64, seed=s) for s in range(3))
    calls = identity.net.calls
    plain = identity(output, target)
    assert plain.to_source is None and identity.net.calls == calls + 2
    with pytest.raises(ValueError, match="expected a source image"):
        _ = plain.improvement
    free = identity(output, target, source=target)
    assert identity.net.calls == calls + 4
    torch.testing.assert_close(free.improvement, (plain.to_target - 1).mean())
    full = identity(output, target, source=source)
    torch.testing.assert_close(full.improvement, (full.to_target - full.views).mean())
    torch.testing.assert_close(full.to_source, identity(output, source).to_target)
    torch.testing.assert_close(full.views, identity(target, source).to_target)
    assert full.loss == plain.loss and not full.to_target.requires_grad


def test_frozen_networks_stay_frozen_under_a_training_parent(identity):
    parent = nn.ModuleDict({"identity": identity, "own": nn.BatchNorm2d(3)}).train()
    assert parent["own"].training and not any(m.training for m in identity.modules())
    before = {name: tensor.clone() for name, tensor in identity.state_dict().items()}
    output = noise(4, 3, 64, 64).requires_grad_()
    identity(output, noise(4, 3, 64, 64, seed=1)).loss.backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in identity.state_dict().items())
    assert not any(p.requires_grad for p in identity.parameters())


def test_a_network_with_old_gradients_loses_them():
    net = TinyNet()
    net(noise(2, 3, 24, 24)).sum().backward()
    assert net.conv.weight.grad is not None
    IdentityLoss(net)
    assert net.conv.weight.grad is None


def test_lpips_equals_the_package(lpips):
    a, b = noise(2, 3, 64, 48), noise(2, 3, 64, 48, seed=1)
    torch.testing.assert_close(lpips.per_sample(a, b), lpips.net(a, b).flatten(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(lpips(a, b), lpips.net(a, b).mean(), rtol=1e-5, atol=1e-7)


def test_lpips_is_silent_and_leaves_the_random_state_alone(capfd, recwarn):
    state = torch.get_rng_state()
    a, b, c = (LPIPSLoss(random_trunk=True, seed=s) for s in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "") and not recwarn.list
    x, y = noise(1, 3, 64, 64), noise(1, 3, 64, 64, seed=1)
    assert a(x, y) == b(x, y) != c(x, y)


def trunk_tensors(lpips, prefix=""):
    return {prefix + name.split(".", 1)[1]: p.clone() for name, p in lpips.net.net.named_parameters()}


@pytest.mark.parametrize("prefix", ["", "features."])
def test_lpips_trunk_from_a_file(lpips, tmp_path, prefix):
    torch.save(trunk_tensors(lpips, prefix) | {"classifier.1.weight": torch.zeros(2)}, tmp_path / "alex.pth")
    x, y = noise(1, 3, 64, 64), noise(1, 3, 64, 64, seed=1)
    assert LPIPSLoss(trunk_file=tmp_path / "alex.pth")(x, y) == lpips(x, y)


def test_lpips_trunk_files_that_are_refused(lpips, tmp_path):
    path = tmp_path / "alex.pth"
    tensors = trunk_tensors(lpips)
    torch.save({k: v for k, v in tensors.items() if k != "6.bias"}, path)
    with pytest.raises(LoadError, match=r"alex.pth: expected AlexNet features, 6.bias of \(384,\), got nothing"):
        LPIPSLoss(trunk_file=path)
    torch.save(tensors | {"0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(LoadError, match=r"0.weight of \(64, 3, 11, 11\), got \(64, 3, 3, 3\)"):
        LPIPSLoss(trunk_file=path)
    torch.save([1, 2], path)
    with pytest.raises(LoadError, match="expected a dictionary of AlexNet tensors, got list"):
        LPIPSLoss(trunk_file=path)
    path.write_text("<html>quota exceeded</html>")
    with pytest.raises(LoadError, match=r"alex.pth: expected a file of AlexNet tensors"):
        LPIPSLoss(trunk_file=path)
    with pytest.raises(ValueError, match="got both"):
        LPIPSLoss(trunk_file=path, random_trunk=True)


def test_lpips_of_an_image_that_is_too_small(lpips):
    assert lpips(noise(1, 3, 31, 31), noise(1, 3, 31, 31, seed=1)) > 0
    with pytest.raises(ValueError, match="expected images of at least 31 px for LPIPS, got \\(30, 64\\)"):
        lpips(noise(1, 3, 30, 64), noise(1, 3, 30, 64))


def test_moco_file(tmp_path):
    net = moco_resnet50().eval()
    state = {f"module.encoder_q.{k}": v for k, v in net.state_dict().items()}
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(2), "module.encoder_k.conv1.weight": torch.zeros(2)}
    path = tmp_path / "moco.pt"
    torch.save({"epoch": 800, "state_dict": state}, path)
    loss = MoCoLoss(load_moco_resnet50(path))
    images = noise(1, 3, 64, 64)
    enlarged = nn.functional.interpolate(images, size=224, mode="nearest")
    torch.testing.assert_close(loss.embed(images), nn.functional.normalize(net(enlarged), dim=1))
    assert loss(images, images).loss.item() == pytest.approx(0, abs=1e-6)

    del state["module.encoder_q.conv1.weight"]
    torch.save({"state_dict": state}, path)
    with pytest.raises(LoadError, match=r"moco.pt: expected the module.encoder_q.\* tensors of a ResNet-50"):
        load_moco_resnet50(path)
    torch.save({"model": {}}, path)
    with pytest.raises(LoadError, match="expected a MoCo checkpoint with a state_dict"):
        load_moco_resnet50(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(LoadError, match="moco.pt: expected a MoCo checkpoint"):
        load_moco_resnet50(path)


def inputs(channels=3, **changes):
    parts = {"output": noise(2, 3, 64, 64), "target": noise(2, 3, 64, 64, seed=1), "codes": noise(2, 4, 5)}
    return LossInputs(**parts | {"source": noise(2, channels, 64, 64, seed=2)} | changes)


def test_total_is_the_weighted_sum_in_the_published_order(lpips, identity):
    weights = LossWeights(id=0.3, l2=2.0, lpips=0.8, lpips_crop=0.5, l2_crop=0.25, w_norm=0.125)
    s = inputs()
    total, log = total_loss(build_terms(weights, lpips=lpips, identity=identity), s)
    by_hand = {
        "loss_id": (0.3, identity(s.output, s.target).loss),
        "loss_l2": (2.0, l2(s.output, s.target)),
        "loss_lpips": (0.8, lpips(s.output, s.target)),
        "loss_lpips_crop": (0.5, lpips(s.output[:, :, 9:56, 8:55], s.target[:, :, 9:56, 8:55])),
        "loss_l2_crop": (0.25, l2(s.output[:, :, 9:56, 8:55], s.target[:, :, 9:56, 8:55])),
        "loss_w_norm": (0.125, w_norm(s.codes)),
    }
    assert list(log) == [*by_hand, "loss"]
    for name, (_, expected) in by_hand.items():
        torch.testing.assert_close(log[name], expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(total, sum(weight * term for weight, term in by_hand.values()))
    assert not any(tensor.requires_grad for tensor in log.values())


def test_a_crop_alone_needs_no_full_image_term(lpips):
    """In the published code the LPIPS network exists only if lpips_lambda > 0."""
    total, log = total_loss(build_terms(LossWeights(lpips_crop=1.0), lpips=lpips), inputs())
    assert list(log) == ["loss_lpips_crop", "loss"] and total > 0


def test_any_function_can_be_a_term_and_weight_zero_is_not_computed():
    def explode(_):
        raise AssertionError("a term of weight 0 was computed")

    mean = LossTerm("mean", 2.0, lambda s: (s.output.mean() + 5, {"max": s.output.max()}))
    total, log = total_loss([LossTerm("off", 0.0, explode), mean], inputs())
    assert list(log) == ["loss_mean", "max", "loss"] and total == 2 * log["loss_mean"]


def test_nothing_waits_for_the_device(lpips):
    """Meta tensors have no values: a float() or an `if tensor` anywhere in the step would raise."""
    networks = {"lpips": LPIPSLoss(random_trunk=True).to("meta"), "identity": IdentityLoss(TinyNet()).to("meta")}
    weights = LossWeights(id=0.1, l2=1.0, lpips=0.8, lpips_crop=0.8, l2_crop=1.0, w_norm=0.1)
    terms = build_terms(weights, **networks, log_improvement=True)
    output = torch.empty(2, 3, 64, 64, device="meta", requires_grad=True)
    other = torch.empty(2, 3, 64, 64, device="meta")
    codes = torch.empty(2, 4, 5, device="meta")
    total, log = total_loss(terms, LossInputs(output=output, target=other, codes=codes, source=other))
    total.backward()
    assert total.device.type == "meta" and set(log) > {"id_improve", "loss"}
    with pytest.raises(RuntimeError):
        float(total)


def test_losses_under_bfloat16(lpips, identity):
    """Autocast changes the trunks, not the arithmetic of the losses, and nothing comes back as bfloat16."""
    a, b = noise(2, 3, 64, 64), noise(2, 3, 64, 64, seed=1)
    for loss in (l2, lpips, identity, moco()):
        expected = value(loss, a, b)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = value(loss, a.bfloat16(), b)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=0.03, atol=1e-3)
    assert widen(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


def test_errors_name_what_was_expected(lpips, identity):
    with pytest.raises(ValueError, match="at least one loss weight above 0, got none"):
        LossWeights()
    with pytest.raises(ValueError, match="expected id or moco, got both"):
        LossWeights(id=0.1, moco=0.5)
    with pytest.raises(ValueError, match="finite loss weights of at least 0, got {'l2': -1.0}"):
        LossWeights(l2=-1.0)
    with pytest.raises(ValueError, match="finite weight of at least 0 for the loss 'x', got nan"):
        LossTerm("x", float("nan"), lambda s: s.output.mean())
    with pytest.raises(ValueError, match="expected at least one loss term"):
        total_loss([], inputs())
    for weights, missing in (
        (LossWeights(id=0.1), "identity"),
        (LossWeights(moco=0.1), "moco"),
        (LossWeights(lpips=0.1), "lpips"),
        (LossWeights(lpips_crop=0.1), "lpips"),
    ):
        with pytest.raises(ValueError, match=f"expected {missing}=<a loss> because its weight is 0.1, got None"):
            build_terms(weights)
    with pytest.raises(ValueError, match="expected images of 3 channels for IdentityLoss, got 19; a sketch"):
        total_loss(build_terms(LossWeights(id=0.1), identity=identity, log_improvement=True), inputs(channels=19))
    with pytest.raises(ValueError, match="expected LossInputs with codes, because w_norm has a weight"):
        total_loss(build_terms(LossWeights(w_norm=0.1)), inputs(codes=None))
    with pytest.raises(ValueError, match="expected input_size=<pixels>, because Flatten has no input_size"):
        IdentityLoss(nn.Flatten())
    with pytest.raises(NotImplementedError):
        SimilarityLoss(TinyNet())(noise(1, 3, 24, 24), noise(1, 3, 24, 24))


def test_the_import_is_light():
    heavy = {"lpips", "torchvision", "PIL", "scipy", "matplotlib"}
    code = f"import sys, pspnb.losses; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
