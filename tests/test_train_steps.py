"""Seven optimisation steps of the published pieces, step by step: encoder, generator, losses and Ranger together."""

import numpy as np
import pytest
import torch
from _golden import fill_module, gauss, golden, image
from test_losses import identity, lpips

from pspnb.losses import LossInputs, LossWeights, build_terms, total_loss
from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.training.ranger import Ranger


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((actual - expected) ** 2).mean() / (expected**2).mean()))


@pytest.mark.slow
def test_published_training_steps():
    data = golden("train_steps")
    average = gauss("pspavg64", (10, 512)) * np.float32(0.5)
    psp = PSP(fill_module(GradualStyleEncoder(10)), fill_module(Generator(64)), latent_avg=average).train()
    psp.decoder.requires_grad_(False)
    parameters = dict(psp.encoder.named_parameters())
    names = data["param_names"].tolist()
    start = {name: parameters[name].detach().flatten()[:2000].clone().numpy() for name in names}

    weights = LossWeights(id=0.1, l2=1.0, lpips=0.8, w_norm=0.005)
    terms = build_terms(weights, identity=identity(), lpips=lpips(), latent_avg=psp.latent_avg, log_improvement=True)
    optimizer = Ranger(parameters.values(), lr=1e-3)
    losses, norms = [], []
    for step in range(7):
        x = torch.stack([image(f"ts{(step % 2) * 2 + i}", 3, 256, 256) for i in range(2)])
        optimizer.zero_grad()
        output, codes = psp(x, resize=256, return_codes=True)
        total, log = total_loss(terms, LossInputs(output=output, target=x, codes=codes, source=x))
        total.backward()
        losses.append([log[name].item() for name in data["loss_names"].tolist()])
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in parameters.values()]).item())
        optimizer.step()

    np.testing.assert_allclose(losses[0], data["losses"][0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(losses, data["losses"], rtol=0, atol=2e-3)
    np.testing.assert_allclose(norms, data["grad_norm"], rtol=5e-3)
    for name in names:
        # Updates are 3e-6 ... 5e-5 RMS: a test of the parameters themselves would pass without any training.
        update = parameters[name].detach().flatten()[:2000].numpy() - start[name]
        assert relative_rms(update, data[f"param.{name}"] - start[name]) <= 0.2, name

    state = psp.encoder.state_dict()
    statistics = {key.removeprefix("bn.") for key in data if key.startswith("bn.")}
    for key in statistics:
        np.testing.assert_allclose(state[key], data[f"bn.{key}"], rtol=0, atol=3e-4, err_msg=key)
    with torch.no_grad():
        latent = psp.eval().encode(x[:1])
    np.testing.assert_allclose(latent, data["eval_latent_after"], rtol=0, atol=1e-2)

    compared = {"loss_names", "losses", "grad_norm", "param_names", "eval_latent_after"}
    compared |= {f"param.{name}" for name in names} | {f"bn.{key}" for key in statistics}
    assert compared == data.keys()
