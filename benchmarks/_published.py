"""A training step in the published form, written from its description: what benchmarks/training.py measures against.

The same loss and the same weights as `pspnb.training.encoder.EncoderStepper`, computed as the published training computes them:
  generator   a weight for every sample and one grouped convolution (groups = batch); its parameters require gradients, which
              are computed, added up and never used
  identity    the recognition network on source, target and output, each with a graph, and with weight gradients
  reading     every loss and every sample's similarities are read as Python numbers in every step
  numbers     float32 in PyTorch's default memory format, no autocast; Ranger in a loop over tensors
It runs in plain PyTorch: the CUDA kernels that the published code has for blurs and activations are left out, here as in ours.
"""

import contextlib
import copy
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from _second import blur_zero_insert, linear, modconv_per_sample

from pspnb.losses import IdentityLoss, LossWeights, LPIPSLoss
from pspnb.models.psp import PSP
from pspnb.nn.backbones import FaceEmbedder, IRBackbone
from pspnb.nn.backbones import PReLU as FastPReLU
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.stylegan2 import noise_shapes
from pspnb.training.data import Batches, Pair


class RangerPerTensor(torch.optim.Optimizer):
    """Ranger as published (version 20.4.11): one tensor after the other, gradients centralised in place."""

    def __init__(self, params: Any, *, lr: float) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.95, 0.999), "eps": 1e-5, "alpha": 0.5, "k": 6})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"t": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p), "slow": p.clone()}
                state["t"] += 1
                t, m, v, g = state["t"], state["m"], state["v"], p.grad
                if g.ndim > 1:
                    g.add_(-g.mean(dim=tuple(range(1, g.ndim)), keepdim=True))
                v.mul_(b2).addcmul_(g, g, value=1 - b2)
                m.mul_(b1).add_(g, alpha=1 - b1)
                longest = 2 / (1 - b2) - 1
                n = longest - 2 * t * b2**t / (1 - b2**t)
                if n > 5:
                    size = (n - 4) / (longest - 4) * (n - 2) / n * longest / (longest - 2)
                    size = math.sqrt((1 - b2**t) * size) / (1 - b1**t)
                    p.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-size * lr)
                else:
                    p.add_(m, alpha=-lr / (1 - b1**t))
                if t % group["k"] == 0:
                    state["slow"].add_(p - state["slow"], alpha=group["alpha"])
                    p.copy_(state["slow"])


def backbone_maps(net: IRBackbone, x: Tensor) -> list[Tensor]:
    """The last three stages' maps, in the memory format of the input."""
    h, maps, start = net.input_layer(x), [], 0
    for n in net.units:
        h = net.body[start : start + n](h)
        maps.append(h)
        start += n
    return maps[1:]


def encode(encoder: GradualStyleEncoder, x: Tensor) -> Tensor:
    c1, c2, c3 = backbone_maps(encoder, x)
    p2 = F.interpolate(c3, c2.shape[-2:], mode="bilinear", align_corners=True) + encoder.latlayer1(c2)
    p1 = F.interpolate(p2, c1.shape[-2:], mode="bilinear", align_corners=True) + encoder.latlayer2(c1)
    levels = (c3, p2, p1)
    return torch.stack([head(levels[i]) for head, i in zip(encoder.styles, encoder.maps, strict=True)], dim=1)


def synthesize(sd: dict[str, Tensor], w_plus: Tensor, noise: list[Tensor] | None) -> Tensor:
    """StyleGAN2 with per-sample weights, from a generator's parameters and buffers by their published names."""

    def styled(x: Tensor, name: str, i: int, up: bool) -> Tensor:
        w = w_plus[:, i]
        style = linear(sd, f"{name}.conv.modulation", w)
        x = modconv_per_sample(x, sd[f"{name}.conv.weight"], style, up=up, kernel=sd.get(f"{name}.conv.blur.kernel"))
        if noise is not None:
            x = x + sd[f"{name}.noise.weight"] * noise[i]
        return F.leaky_relu(x + sd[f"{name}.activate.bias"].view(1, -1, 1, 1), 0.2) * math.sqrt(2)

    def to_rgb(x: Tensor, name: str, i: int, skip: Tensor | None) -> Tensor:
        style = linear(sd, f"{name}.conv.modulation", w_plus[:, i])
        x = modconv_per_sample(x, sd[f"{name}.conv.weight"], style, demodulate=False) + sd[f"{name}.bias"]
        return x if skip is None else x + blur_zero_insert(skip, sd[f"{name}.upsample.kernel"], up=2, pad=(2, 1))

    x = styled(sd["input.input"].repeat(len(w_plus), 1, 1, 1), "conv1", 0, up=False)
    rgb = to_rgb(x, "to_rgb1", 1, None)
    for j in range((w_plus.shape[1] - 2) // 2):
        x = styled(x, f"convs.{2 * j}", 2 * j + 1, up=True)
        x = styled(x, f"convs.{2 * j + 1}", 2 * j + 2, up=False)
        rgb = to_rgb(x, f"to_rgbs.{j}", 2 * j + 3, rgb)
    return rgb


def perceptual(net: nn.Module, output: Tensor, target: Tensor) -> Tensor:
    """LPIPS by the lpips package itself, or the distance of `PerceptualNet` in the default memory format."""
    if isinstance(net, LPIPSLoss):
        return net.net(output, target).mean()

    def features(x: Tensor) -> list[Tensor]:
        maps = []
        for stage in net.stages:
            x = stage(x)
            maps.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-6))
        return maps

    pairs = zip(features(output), features(target), strict=True)
    return torch.stack([(p - q).square().mean(dim=(2, 3)).sum(dim=1) for p, q in pairs]).mean()


class PublishedForm:
    """Copies of a PSP and of its losses, and the step on them. `batches` are read as `EncoderStepper` reads them."""

    def __init__(
        self,
        model: PSP,
        batches: Batches,
        distance: nn.Module,
        identity: IdentityLoss,
        weights: LossWeights,
        *,
        lr: float,
        noise: str,
        device: torch.device,
    ) -> None:
        self.model = copy.deepcopy(model).to(device, memory_format=torch.contiguous_format).requires_grad_(True)
        self.identity = copy.deepcopy(identity).to(device, memory_format=torch.contiguous_format).requires_grad_(True)
        self.distance = copy.deepcopy(distance).to(device, memory_format=torch.contiguous_format).requires_grad_(False)
        for layer in [*self.model.modules(), *self.identity.modules()]:
            if type(layer) is FastPReLU:
                layer.__class__ = nn.PReLU
        self.batches, self.weights, self.noise, self.device = batches, weights, noise, device
        self.optimizer = RangerPerTensor(self.model.encoder.parameters(), lr=lr)
        decoder = self.model.decoder
        self.tensors = dict(decoder.named_parameters()) | dict(decoder.named_buffers())
        self.pairs = batches.endless(device=device)
        self.log: dict[str, float] = {}

    def close(self) -> None:
        self.pairs.close()

    def autocast(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def next_pair(self) -> Pair:
        self.model.train()
        return next(self.pairs)

    def encode(self, source: Tensor) -> Tensor:
        return encode(self.model.encoder, source) + self.model.latent_avg

    def decode(self, codes: Tensor, size: int) -> Tensor:
        decoder = self.model.decoder
        maps = None
        if decoder.has_noise and self.noise == "const":
            maps = [self.tensors[f"noises.noise_{i}"] for i in range(len(decoder.convs) + 1)]
        elif decoder.has_noise:
            maps = [torch.randn(len(codes), *s[1:], device=self.device) for s in noise_shapes(decoder.size)]
        image = synthesize(self.tensors, codes, maps)
        return image if size == decoder.size else F.adaptive_avg_pool2d(image, size)

    def terms(self, pair: Pair, output: Tensor) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of every loss, each read as soon as it is there."""
        if self.weights.id:
            loss = self._identity(pair.source, pair.target, output)
            self.log["loss_id"] = float(loss.detach())
            yield "identity", self.weights.id, loss
        if self.weights.l2:
            loss = F.mse_loss(output, pair.target)
            self.log["loss_l2"] = float(loss.detach())
            yield "pixels", self.weights.l2, loss
        if self.weights.lpips:
            loss = perceptual(self.distance, output, pair.target)
            self.log["loss_lpips"] = float(loss.detach())
            yield "perceptual", self.weights.lpips, loss

    def _identity(self, source: Tensor, target: Tensor, output: Tensor) -> Tensor:
        x, y, out = (self._embed(images) for images in (source, target, output))
        y = y.detach()
        loss, improvement = output.new_zeros(()), 0.0
        for i in range(len(x)):
            to_target = out[i].dot(y[i])
            cosines = (to_target, out[i].dot(x[i]), y[i].dot(x[i]))
            hit, given, views = (float(cosine.detach()) for cosine in cosines)
            self.log |= {f"{i}_target": hit, f"{i}_input": given, f"{i}_views": views}
            loss = loss + 1 - to_target
            improvement += hit - views
        self.log["id_improve"] = improvement / len(x)
        return loss / len(x)

    def _embed(self, images: Tensor) -> Tensor:
        net = self.identity.net
        assert isinstance(net, FaceEmbedder)
        e = net.output_layer(backbone_maps(net, self.identity.prepare(images))[-1])
        return e / e.norm(dim=1, keepdim=True)

    def update(self) -> None:
        self.optimizer.step()

    def step(self) -> float:
        """One step; its loss."""
        pair = self.next_pair()
        self.optimizer.zero_grad(set_to_none=True)
        output = self.decode(self.encode(pair.source), pair.target.shape[-1])
        total = torch.stack([weight * value for _, weight, value in self.terms(pair, output)]).sum()
        self.log["loss"] = float(total.detach())
        total.backward()
        self.update()
        return self.log["loss"]
