"""What the training of an encoder starts from: a face-recognition network, as published, or a trained encoder."""

from pathlib import Path

from torch import nn

from pspnb.errors import PspnbError
from pspnb.models.base import Translator
from pspnb.models.load import load_identity
from pspnb.models.runs import about_run, checkpoint_of, is_run
from pspnb.models.zoo import card
from pspnb.training.checkpoint import load_checkpoint

_STEM = "input_layer.0.weight"


def start_from_recognition(encoder: nn.Module, file: str) -> None:
    """Copy stem and body of an IR-SE50 face-recognition file into an encoder, as the published training does.

    A stem for other than three channels keeps its own weights. PspnbError when the file is of another architecture.
    """
    theirs, mine = load_identity(file).state_dict(), encoder.state_dict()
    shared = {key: value for key, value in theirs.items() if key.startswith(("input_layer.", "body."))}
    if encoder.in_channels != 3:
        shared.pop(_STEM)
    wrong = [key for key, value in shared.items() if key not in mine or mine[key].shape != value.shape]
    if wrong:
        raise PspnbError(
            f"{file}: expected an IR-SE50 like the encoder's body, {len(wrong)} tensors differ, first {wrong[0]}"
        )
    encoder.load_state_dict({**mine, **shared})


def start_from(model: Translator, given: Translator, *, name: str) -> None:
    """Copy encoder and mean latent of a trained model. PspnbError, before anything is copied, when the encoder is another.

    A stem for another number of channels (a sketch's, a label map's) keeps its own weights.
    """
    theirs, mine = given.encoder.state_dict(), model.encoder.state_dict()
    if given.encoder.in_channels != model.encoder.in_channels and _STEM in theirs and _STEM in mine:
        theirs = {**theirs, _STEM: mine[_STEM]}
    wrong = [
        key for key in mine | theirs if key not in mine or key not in theirs or mine[key].shape != theirs[key].shape
    ]
    if wrong:
        raise PspnbError(
            f"{name}: expected an encoder like the one to be trained, {len(wrong)} tensors differ, first {wrong[0]}; "
            "choose the task and the --variant that it was trained for"
        )
    model.encoder.load_state_dict(theirs)
    model.latent_avg.copy_(given.latent_avg)


def images_seen(trained: str | Path) -> int:
    """On how many images a shipped encoder (by name) or a run was trained in all; 0 where nothing says so."""
    if Path(trained).exists() and is_run(trained):
        path = checkpoint_of(trained)
        state = load_checkpoint(path)
        return int(about_run(path, state).get("init_images", 0) + state["step"] * state["identity"]["batch"])
    try:
        about = card(str(trained))
    except PspnbError:  # a file
        return 0
    return int(about.get("images", about["steps"] * about["batch"]))
