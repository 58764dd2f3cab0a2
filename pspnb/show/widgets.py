"""Live controls for notebooks: sliders that run the model. They need a kernel; static pages use `viz.frame_slider`.

With `figures.py` the only module that imports ipywidgets. The functions return ordinary widgets: show one as the last
expression of a cell, or drive it from Python by setting the `value` of its children.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as w
import torch
from jaxtyping import Float
from torch import Tensor

from pspnb.show.figures import image_html

Decode = Callable[[Tensor], Tensor]


def style_mixer(
    decode: Decode,
    codes: Float[Tensor, " p n d"],
    *,
    names: Sequence[str] | None = None,
    width: int = 256,
) -> w.VBox:
    """Mix two of `p` codes style by style: styles below `crossover` come from the first person, the rest from the second.

    `decode`: codes (1, n, d) -> images (1, 3, H, H) in [-1, 1], such as `psp.decode`. `strength` blends each of the second
    person's styles with the first's: 0 leaves the first person, 1 replaces the style.
    """
    people, n_styles, _ = codes.shape
    names = list(names) if names is not None else [str(i) for i in range(people)]
    if len(names) != people or people < 2:
        raise ValueError(f"expected codes of at least 2 people with one name each, got {people} and {len(names)} names")
    options = [(name, i) for i, name in enumerate(names)]
    first = w.Dropdown(options=options, value=0, description="shape from")
    second = w.Dropdown(options=options, value=1, description="details from")
    crossover = w.IntSlider(n_styles // 2, 0, n_styles, description="crossover")
    strength = w.FloatSlider(1.0, min=0.0, max=1.0, step=0.05, description="strength")

    def mixed() -> tuple[Tensor, str]:
        code = codes[first.value].clone()
        late = slice(crossover.value, None)
        code[late] = torch.lerp(code[late], codes[second.value][late], strength.value)
        kept = f"The first {crossover.value} of {n_styles} styles of {names[first.value]}"
        return code, f"{kept}, the others of {names[second.value]}"

    return _live([first, second, crossover, strength], mixed, decode, width)


def style_editor(
    decode: Decode,
    code: Float[Tensor, " n d"],
    directions: dict[str, Tensor],
    *,
    reach: float = 3.0,
    width: int = 256,
) -> w.VBox:
    """One slider for each named direction in w+: the picture of code + sum of amount x direction, amounts in +-`reach`."""
    if not directions:
        raise ValueError("expected at least one direction, got none")
    wrong = [name for name, direction in directions.items() if direction.shape != code.shape]
    if wrong:
        raise ValueError(f"expected directions of shape {tuple(code.shape)} like the code; {', '.join(wrong)} differ")
    sliders = {
        name: w.FloatSlider(0.0, min=-reach, max=reach, step=reach / 20, description=name) for name in directions
    }

    def edited() -> tuple[Tensor, str]:
        moved = code + sum(sliders[name].value * direction for name, direction in directions.items())
        return moved, "Edited: " + ", ".join(f"{name} {slider.value:+.2f}" for name, slider in sliders.items())

    return _live(list(sliders.values()), edited, decode, width)


def _live(controls: list[Any], current: Callable[[], tuple[Tensor, str]], decode: Decode, width: int) -> w.VBox:
    """The controls and a picture that follows them."""
    picture = w.HTML()

    def draw(_: Any = None) -> None:
        code, text = current()
        with torch.no_grad():
            picture.value = image_html(decode(code[None])[0], text, width=width)

    for control in controls:
        control.style.description_width = "7rem"
        control.observe(draw, names="value")
    draw()
    return w.VBox([*controls, picture])
