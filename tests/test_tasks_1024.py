"""Every kind of source at the paper's scale, 256 -> 1024: a step of training, `translate`, style mixing; tiny official files.

Widths are 16 and more, not 8: oneDNN (issue 6035) writes past its buffer in the backward pass of strided 1 x 1 convolutions of
fewer channels.
"""

import numpy as np
import pytest
import torch
from _files import psp_content
from _golden import uint8_image
from _tiny import TinyFace
from PIL import Image

import pspnb
from pspnb import cli
from pspnb.files.pictures import to_levels
from pspnb.losses import IdentityLoss, LPIPSLoss, build_terms
from pspnb.models.psp import PSP
from pspnb.nn.encoders import GradualStyleEncoder
from pspnb.nn.stylegan2 import Generator
from pspnb.tasks import TASKS
from pspnb.training.data import Batches, PairArrays
from pspnb.training.encoder import fit_encoder
from pspnb.training.encoder_config import EncoderConfig
from pspnb.training.journal import read_journal

KINDS = ("frontalization", "sketch", "strokes", "segmentation", "super_resolution", "inpainting_random")
PUBLISHED = {
    "frontalization": "ffhq_frontalize",
    "sketch": "celebs_sketch_to_face",
    "segmentation": "celebs_seg_to_face",
    "super_resolution": "celebs_super_resolution",
}


def model_of(task) -> PSP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(1024, style_dim=16, n_mlp=2, channels={2**k: 8 for k in range(2, 11)})
        encoder = GradualStyleEncoder(
            18,
            style_dim=16,
            in_channels=task.in_channels,
            input_size=256,
            units=(1, 1, 1, 1),
            widths=(16, 16, 24, 32, 48),
        )
        return PSP(encoder, generator.requires_grad_(False), latent_avg=generator.mean_latent(64))


def batches_of(task) -> Batches:
    images = torch.from_numpy(uint8_image("1024", 256, 256, 3)).permute(2, 0, 1)[None]
    labels = torch.arange(19, dtype=torch.uint8).repeat_interleave(14)[:256].expand(1, 256, 256).contiguous()
    return Batches(PairArrays(images, images if task.paired else labels if task.needs_given else None), task, batch=1)


def file_of(task, folder):
    """A picture as a user would bring it: 300 px, of the kind that the task reads."""
    picture = uint8_image("input", 300, 300, 3)
    if task.source.stored == "sketch" or task.in_channels == 1:
        picture = np.where(picture[..., 0] > 60, 255, 0).astype(np.uint8)
    elif task.source.n_classes:
        picture = (np.indices((300, 300))[0] // 20).astype(np.uint8)
    Image.fromarray(picture).save(folder / "input.png")
    return folder / "input.png", picture


@pytest.mark.parametrize("name", KINDS)
def test_256_to_1024(name, tmp_path, capsys):
    task = TASKS[name]
    psp = model_of(task)
    before = [p.clone() for p in psp.encoder.parameters()]
    terms = build_terms(
        task.weights,
        lpips=LPIPSLoss(random_trunk=True),
        identity=IdentityLoss(TinyFace()),
        latent_avg=psp.latent_avg,
    )
    config = EncoderConfig(steps=1, lr=1e-3, optimizer="adam", log_every=1, picture_every=0, channels_last=False)
    fit_encoder(psp, batches_of(task), terms, config, out=tmp_path / "run", progress=False)
    (record,) = read_journal(tmp_path / "run" / "log.jsonl")
    assert {f"loss_{k}" for k, v in vars(task.weights).items() if v} <= set(record)
    assert sum(not torch.equal(a, b) for a, b in zip(before, psp.encoder.parameters(), strict=True)) > 0.9 * len(before)

    options = {"dataset_type": PUBLISHED[name]} if name in PUBLISHED else {}
    torch.save(psp_content(psp.eval(), opts=options), tmp_path / "official.pt")
    loaded = pspnb.load(tmp_path / "official.pt")
    assert loaded.n_styles == 18 and loaded.input_size == 256 and loaded.task == (name if name in PUBLISHED else None)

    path, picture = file_of(task, tmp_path)
    command = ["translate", "--model", tmp_path / "official.pt", "--input", path, "--output", tmp_path / "out"]
    command += [] if name in PUBLISHED else ["--task", name]
    layers = list(task.layers(18)) or [8, 9]
    mixing = ["--n-samples", 1, "--resize", 256, "--seed", 4]
    mixing += [] if task.layers(18) else ["--layers", "8-9"]  # the task's own styles and alpha otherwise
    assert cli.main([str(word) for word in (*command, *mixing)]) == 0, capsys.readouterr().err
    x = task.prepare(picture, 256)[None]
    with torch.no_grad():
        expected = to_levels(loaded.sample(x, n=1, layers=layers, alpha=task.sample_alpha, seed=4, resize=256)[0, 0])
        plain = to_levels(loaded(x, resize=256)[0])
    written = np.asarray(Image.open(tmp_path / "out" / "input_sample0.png")).transpose(2, 0, 1)
    assert abs(written.astype(int) - expected.numpy()).max() <= 1
    assert abs(plain.int() - expected.int()).max() > 1


@pytest.mark.parametrize("name", TASKS)
def test_the_published_command_is_printed(name, capsys):
    assert cli.main(["train", name, "--out", "runs/x", "--published"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    if TASKS[name].published_name is None:
        assert line == f"the published code has no command for {name}"
        return
    words = dict(word.removeprefix("--").partition("=")[::2] for word in line.split() if word.startswith("--"))
    assert words["dataset_type"] == TASKS[name].published_name and words["exp_dir"] == "runs/x"
    assert {"lpips_lambda", "l2_lambda", "id_lambda"} <= set(words)
    channels = {"sketch": "1", "segmentation": "19"}.get(name)
    assert words.get("label_nc") == words.get("input_nc") == channels
    assert words.get("resize_factors") == ("1,2,4,8,16,32" if name == "super_resolution" else None)
