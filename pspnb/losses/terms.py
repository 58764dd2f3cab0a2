"""The total loss L = sum of weight x term (paper section 3.1), with names for the log; book chapter "Losses"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from pspnb.losses.basic import FACE_BOX, CropBox, inner_face, l2, w_norm
from pspnb.losses.similarity import SimilarityLoss

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LossInputs:
    """What a step offers to its losses: images in [-1, 1] at the size of the target, and the codes behind them."""

    output: Float[Tensor, " b 3 h w"]
    target: Float[Tensor, " b 3 h w"]
    codes: Float[Tensor, " b n d"] | None = None
    source: Float[Tensor, " b c h2 w2"] | None = None


TermFunction = Callable[[LossInputs], Tensor | tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class LossTerm:
    """One addend: `weight` x `fn(inputs)`, logged as `loss_{name}`.

    `fn` gives a scalar, or a scalar and a dictionary of further tensors for the log. A term of weight 0 is not
    computed.
    """

    name: str
    weight: float
    fn: TermFunction

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"expected a finite weight of at least 0 for the loss {self.name!r}, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """The lambdas of a task, named as in the published options; `lpips_crop` and `l2_crop` act on the inner face."""

    id: float = 0.0
    l2: float = 0.0
    lpips: float = 0.0
    lpips_crop: float = 0.0
    l2_crop: float = 0.0
    w_norm: float = 0.0
    moco: float = 0.0

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        wrong = {name: value for name, value in values.items() if not 0 <= value < float("inf")}
        if wrong:
            raise ValueError(f"expected finite loss weights of at least 0, got {wrong}")
        if not any(values.values()):
            raise ValueError("expected at least one loss weight above 0, got none: there is nothing to train on")
        if self.id and self.moco:
            raise ValueError("expected id or moco, got both: MoCo takes the place of identity outside of faces")


def build_terms(
    weights: LossWeights,
    *,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    identity: SimilarityLoss | None = None,
    moco: SimilarityLoss | None = None,
    latent_avg: Float[Tensor, " n d"] | Float[Tensor, " d"] | None = None,
    face: CropBox = FACE_BOX,
    log_improvement: bool = False,
) -> list[LossTerm]:
    """The terms of a task in the published order, those with weight 0 left out.

    `lpips` is `LPIPSLoss` or any other distance of two image batches. `latent_avg` is the encoder's starting point, `None` if it
    starts from zero. `log_improvement` logs `id_improve`, at the cost of one more identity pass per step unless the
    source is the target. ValueError if a loss has a weight but no network.
    """
    functions: dict[str, TermFunction] = {}
    if weights.id:
        face_net = _needed("identity", identity, weights.id)
        functions["id"] = lambda s: _similarity(face_net, s, "id", log_improvement)
    functions["l2"] = lambda s: l2(s.output, s.target)
    if weights.lpips or weights.lpips_crop:
        perceptual = _needed("lpips", lpips, weights.lpips or weights.lpips_crop)
        functions["lpips"] = lambda s: perceptual(s.output, s.target)
        functions["lpips_crop"] = lambda s: perceptual(inner_face(s.output, face), inner_face(s.target, face))
    functions["l2_crop"] = lambda s: l2(inner_face(s.output, face), inner_face(s.target, face))
    functions["w_norm"] = lambda s: _code_norm(s, latent_avg)
    if weights.moco:
        moco_net = _needed("moco", moco, weights.moco)
        functions["moco"] = lambda s: _similarity(moco_net, s, "moco", log_improvement)
    return [LossTerm(name, getattr(weights, name), fn) for name, fn in functions.items() if getattr(weights, name)]


def _needed(name: str, net: T | None, weight: float) -> T:
    if net is None:
        raise ValueError(f"expected {name}=<a loss> because its weight is {weight}, got None")
    return net


def _code_norm(s: LossInputs, latent_avg: Tensor | None) -> Tensor:
    if s.codes is None:
        raise ValueError("expected LossInputs with codes, because w_norm has a weight")
    return w_norm(s.codes, latent_avg)


def _similarity(loss: SimilarityLoss, s: LossInputs, name: str, improvement: bool) -> tuple[Tensor, dict[str, Tensor]]:
    result = loss(s.output, s.target, source=s.source if improvement else None)
    return result.loss, {f"{name}_improve": result.improvement} if improvement else {}


def total_loss(terms: Sequence[LossTerm], inputs: LossInputs) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The weighted sum, and a log of detached scalar tensors: `loss`, `loss_{name}` unweighted, and extras.

    No value is read back: the caller decides when to wait for the device. ValueError if no term has a weight.
    """
    total: Tensor | None = None
    log: dict[str, Tensor] = {}
    for term in terms:
        if not term.weight:
            continue
        value = term.fn(inputs)
        value, extras = value if isinstance(value, tuple) else (value, {})
        total = term.weight * value if total is None else total + term.weight * value
        log |= {f"loss_{term.name}": value.detach()} | {name: extra.detach() for name, extra in extras.items()}
    if total is None:
        raise ValueError("expected at least one loss term with a weight above 0, got none")
    return total, log | {"loss": total.detach()}
