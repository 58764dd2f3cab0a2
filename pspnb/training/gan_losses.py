"""The losses of StyleGAN2, one function per equation, and the one-pass form of the two adversarial losses.

Sources: non-saturating logistic loss (Goodfellow et al. 2014), R1 (Mescheder et al. 2018), training generator and discriminator
from one pass (Shen et al. 2021).
Chapter: "StyleGAN2 from the inside".
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def discriminator_loss(real_logits: Float[Tensor, " b 1"], fake_logits: Float[Tensor, " b 1"]) -> Float[Tensor, ""]:
    """-log sigma(D(x)) - log(1 - sigma(D(G(z)))), batch mean; 2 log 2 = 1.386 when D cannot tell."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Float[Tensor, " b 1"]) -> Float[Tensor, ""]:
    """-log sigma(D(G(z))), batch mean: the non-saturating form."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(logits: Float[Tensor, " b 1"], images: Float[Tensor, " b 3 h w"]) -> Float[Tensor, ""]:
    """||grad_x D(x)||^2 at the real images, batch mean; the caller multiplies by gamma / 2."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


class TurnGradient(torch.autograd.Function):
    """Identity on the fake images whose backward turns the discriminator's gradient into the generator's, per image.

    With l the logit of one fake image, the losses softplus(l) and softplus(-l) have the derivatives sigma(l) and -sigma(-l).
    Everything before l is the same, so the second gradient is the first times -sigma(-l) / sigma(l) = -exp(-l): one forward
    and one backward pass through D serve both networks. Exact as long as D looks at each image on its own.
    """

    @staticmethod
    def forward(ctx, images: Tensor, turn: "GradientTurn") -> Tensor:
        ctx.turn = turn
        return images.view_as(images)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        logits = ctx.turn.logits
        if logits is None:
            raise RuntimeError("expected GradientTurn.remember(logits) before backward()")
        factor = -torch.exp(-logits.float().clamp(-30, 30))
        return gradient * factor.view(-1, 1, 1, 1).to(gradient.dtype), None


class GradientTurn:
    """Carries the fake logits from the forward pass to `TurnGradient.backward`.

    It keeps them detached: with their graph, which leads back to this object, they would never be freed.
    """

    def __init__(self) -> None:
        self.logits: Float[Tensor, " b 1"] | None = None

    def remember(self, logits: Float[Tensor, " b 1"]) -> None:
        """Call with D's answer to the images that went through this object, before `backward`."""
        self.logits = logits.detach()

    def __call__(self, x: Float[Tensor, " b c h w"]) -> Float[Tensor, " b c h w"]:
        return TurnGradient.apply(x, self)
