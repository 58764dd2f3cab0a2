"""Ranger against the published trajectories, and against the same algorithm written plainly."""

import copy
import math

import pytest
import torch
from _golden import golden
from torch import nn

from pspnb.training import ranger as ranger_module
from pspnb.training.ranger import Ranger, rectified_step

NAMES = ("vec", "mat", "conv", "t5")
SETTINGS = {
    "default_lr1e-2": {"lr": 1e-2},
    "default_lr1e-4": {"lr": 1e-4},
    "wd": {"lr": 1e-2, "weight_decay": 0.1},
    "k3_alpha08": {"lr": 5e-3, "k": 3, "alpha": 0.8},
    "gcconv": {"lr": 1e-2, "gc_conv_only": True},
    "betas": {"lr": 1e-2, "betas": (0.9, 0.99)},
}


def parameters(dtype=torch.float32):
    data = golden("ranger")
    return [nn.Parameter(torch.tensor(data[f"p0_{name}"], dtype=dtype)) for name in NAMES]


def bowl(params):
    """The loss of the golden vectors: a quadratic with its own curvature and minimum per number."""
    data = golden("ranger")
    parts = [
        (0.5 * torch.tensor(data[f"a_{name}"]).to(p) * (p - torch.tensor(data[f"b_{name}"]).to(p)) ** 2).sum()
        for name, p in zip(NAMES, params, strict=True)
    ]
    return sum(parts)


def descend(params, optimizer, steps, *, loss=bowl):
    trajectory = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss(params).backward()
        optimizer.step()
        trajectory.append([p.detach().clone() for p in params])
    return trajectory


@pytest.mark.parametrize("setting", SETTINGS)
def test_published_trajectory(setting):
    data = golden("ranger")
    params = parameters()
    trajectory = descend(params, Ranger(params, **SETTINGS[setting]), len(data[f"{setting}_vec"]))
    for i, name in enumerate(NAMES):
        actual = torch.stack([step[i] for step in trajectory])
        # Equal to the last bit where this was written; another processor may contract a multiply-add.
        torch.testing.assert_close(actual, torch.tensor(data[f"{setting}_{name}"]), rtol=0, atol=3e-7)


def test_every_golden_array_is_compared():
    expected = {f"{part}_{name}" for part in ("p0", "a", "b", *SETTINGS) for name in NAMES}
    assert expected == golden("ranger").keys()


def plain_step(p, gradient, state, *, lr, alpha, k, threshold, betas, eps, weight_decay, min_axes):
    """One parameter, one step, as the papers write it; float64."""
    beta1, beta2 = betas
    state.setdefault("slow", p.clone())
    t = state["t"] = state.get("t", 0) + 1
    if p.ndim >= min_axes:
        gradient = gradient - gradient.flatten(1).mean(1).reshape(-1, *[1] * (p.ndim - 1))
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
    m_hat, v_hat = state["m"] / (1 - beta1**t), state["v"] / (1 - beta2**t)
    n_max = 2 / (1 - beta2) - 1
    n = n_max - 2 * t * beta2**t / (1 - beta2**t)
    p = p * (1 - lr * weight_decay)
    if n > threshold:
        r = math.sqrt((n - 4) * (n - 2) * n_max / ((n_max - 4) * (n_max - 2) * n))
        p = p - lr * r * m_hat / (v_hat.sqrt() + eps / math.sqrt(1 - beta2**t))
    else:
        p = p - lr * m_hat
    if t % k == 0:
        p = state["slow"] = state["slow"] + alpha * (p - state["slow"])
    return p


@pytest.mark.parametrize("chunk", [1, 2**25])
@pytest.mark.parametrize("use_gc", [True, False])
def test_against_the_plain_algorithm(monkeypatch, use_gc, chunk):
    monkeypatch.setattr(ranger_module, "CHUNK_ELEMENTS", chunk)
    options = {"lr": 0.02, "alpha": 0.3, "k": 4, "betas": (0.9, 0.98), "eps": 1e-4, "weight_decay": 0.05}
    params = parameters(torch.float64)
    optimizer = Ranger(params, use_gc=use_gc, n_sma_threshold=5.5, **options)
    plain, states = [p.detach().clone() for p in params], [{} for _ in params]
    for _ in range(25):
        gradients = torch.autograd.grad(bowl(leaves := [p.clone().requires_grad_() for p in plain]), leaves)
        plain = [
            plain_step(p, g, s, threshold=5.5, min_axes=2 if use_gc else 99, **options)
            for p, g, s in zip(plain, gradients, states, strict=True)
        ]
        descend(params, optimizer, 1)
        for actual, expected in zip(params, plain, strict=True):
            torch.testing.assert_close(actual.detach(), expected, rtol=1e-10, atol=1e-12)


def test_rectified_step_lengths():
    """With beta2 = 0.999 the average is 1.0, 2.0, 3.0, 4.0, 4.996, 5.994 ... long: adaptive from t = 6."""
    assert [rectified_step(t, beta1=0.95, beta2=0.999)[1] for t in range(1, 9)] == [False] * 5 + [True] * 3
    assert rectified_step(1, beta1=0.95, beta2=0.999)[0] == pytest.approx(20)
    size, adaptive = rectified_step(10**6, beta1=0.95, beta2=0.999)
    assert adaptive and size == pytest.approx(1)


def test_gradients_are_left_alone():
    params = parameters()
    optimizer = Ranger(params)
    bowl(params).backward()
    before = [p.grad.clone() for p in params]
    optimizer.step()
    assert all(torch.equal(p.grad, b) for p, b in zip(params, before, strict=True))


def test_closure_is_evaluated_with_gradients_and_returned():
    params, twin = parameters(), parameters()
    optimizer = Ranger(params, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = bowl(params)
        loss.backward()
        return loss

    expected = bowl(params).item()
    assert optimizer.step(closure).item() == pytest.approx(expected)
    other = Ranger(twin, lr=0.1)
    bowl(twin).backward()
    assert other.step() is None
    assert all(torch.equal(a, b) for a, b in zip(params, twin, strict=True))


@pytest.mark.parametrize("stop", [2, 5, 6, 7, 13])
def test_state_dict_resumes_bit_for_bit(tmp_path, stop):
    """Through a file read with weights_only, at steps before, at and after the first look-ahead."""
    whole = parameters()
    descend(whole, Ranger(whole, lr=1e-2), 20)

    first = parameters()
    optimizer = Ranger(first, lr=1e-2)
    descend(first, optimizer, stop)
    torch.save({"params": first, "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")

    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    second = [nn.Parameter(p.detach().clone()) for p in saved["params"]]
    resumed = Ranger(second, lr=123.0)
    resumed.load_state_dict(saved["optimizer"])
    descend(second, resumed, 20 - stop)
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_parameters_without_gradients_wait():
    """No state, no step, no decay for a parameter whose gradient is None; its own count starts when one comes."""
    params = parameters()
    optimizer = Ranger(params, lr=1e-2, weight_decay=0.1)
    start = params[0].detach().clone()
    descend(params, optimizer, 3, loss=lambda ps: (ps[1] ** 2).sum() + (ps[2] ** 2).sum())
    assert torch.equal(params[0], start) and params[0] not in optimizer.state
    descend(params, optimizer, 2)
    assert [optimizer.state[p]["step"] for p in params] == [2, 5, 5, 2]

    alone = parameters()
    descend(alone, Ranger(alone, lr=1e-2, weight_decay=0.1), 2)
    assert torch.equal(params[0], alone[0])


def test_groups_keep_their_own_options():
    """The published step-size cache is shared between groups: with different betas it is wrong."""
    options = [
        {"lr": 1e-2, "betas": (0.9, 0.99)},
        {"lr": 3e-3, "k": 2, "alpha": 0.9},
        {"use_gc": False},
        {"gc_conv_only": True},
    ]
    together = parameters()
    groups = [{"params": [p]} | o for p, o in zip(together, options, strict=True)]
    descend(together, Ranger(groups, weight_decay=0.01), 15)
    for i, option in enumerate(options):
        alone = parameters()
        descend(alone, Ranger(alone, weight_decay=0.01, **option), 15)
        assert torch.equal(alone[i], together[i])


def test_an_encoder_sized_mix_of_parameters_learns():
    """The gradients are of a real network with convolutions, BatchNorm and biases, in channels_last."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.PReLU(8), nn.Flatten(), nn.Linear(8 * 36, 2))
    net = net.to(memory_format=torch.channels_last)
    x, y = torch.randn(16, 3, 8, 8), torch.randn(16, 2)
    plain = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    losses = {}
    for name, model in (("channels_last", net), ("contiguous", plain)):
        optimizer = Ranger(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            loss = ((model(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    assert losses["channels_last"] < 0.05
    assert losses["channels_last"] == pytest.approx(losses["contiguous"], rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "expected lr above 0, got 0.0"),
        ({"alpha": 1.5}, "expected alpha from 0 to 1, got 1.5"),
        ({"k": 0}, "expected k of at least 1, got 0"),
        ({"betas": (0.9, 1.0)}, "expected betas from 0 to below 1, got"),
        ({"eps": 0.0}, "expected eps above 0"),
        ({"weight_decay": -1.0}, "expected weight_decay of at least 0"),
        ({"n_sma_threshold": 3.0}, "expected n_sma_threshold of at least 4, got 3.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Ranger(parameters(), **options)


def test_sparse_gradients_are_refused():
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="expected dense gradients, got a sparse one"):
        Ranger(table.parameters()).step()
