"""The command of the published code that trains a task: what `pspnb train TASK --published` prints, to compare options.

The options are those of its README (eladrich/pixel2style2pixel, training section). The order of losses is that of the README.
"""

from pspnb.tasks.source import Source
from pspnb.tasks.task import Task

_COMMON = (
    "--workers=8",
    "--batch_size=8",
    "--test_batch_size=8",
    "--test_workers=8",
    "--val_interval=2500",
    "--save_interval=5000",
    "--encoder_type=GradualStyleEncoder",
    "--start_from_latent_avg",
)
_LOSSES = {
    "lpips": "lpips_lambda",
    "l2": "l2_lambda",
    "id": "id_lambda",
    "w_norm": "w_norm_lambda",
    "lpips_crop": "lpips_lambda_crop",
    "l2_crop": "l2_lambda_crop",
    "moco": "moco_lambda",
}
_ALWAYS = ("lpips", "l2", "id")
"""Losses that every published command names, also with weight 0."""
PUBLISHED_FACTORS = (1, 2, 4, 8, 16, 32)


def published_command(task: Task, *, out: str, generator: str | None = None) -> str | None:
    """One line, to be run in the published repository; None for a task that it does not have.

    `out`: its exp_dir. `generator`: a file in rosinality's format, default: the published file of FFHQ.
    """
    if task.published_name is None:
        return None
    words = ["python scripts/train.py", f"--dataset_type={task.published_name}", f"--exp_dir={out}", *_COMMON]
    for name, option in _LOSSES.items():
        weight = getattr(task.weights, name)
        if weight or name in _ALWAYS:
            words.append(f"--{option}={weight:g}")
    words += [] if generator is None else [f"--stylegan_weights={generator}"]
    return " ".join([*words, *_source_options(task.source)])


def _source_options(source: Source) -> list[str]:
    """What tells the published code of channels and factors."""
    words = [] if source.channels == 3 else [f"--label_nc={source.channels}", f"--input_nc={source.channels}"]
    if hasattr(source, "factors"):
        words.append(f"--resize_factors={','.join(map(str, PUBLISHED_FACTORS))}")
    return words
