"""How many numbers an inversion keeps of a picture: what a reconstruction must be compared with before it is praised.

Chapter: "The Feature-Style encoder". In the paper F has 131,072 numbers, 4.2 % of the 3,145,728 of a picture.
"""

from typing import TypedDict

from pspnb.models.base import Translator


class Capacity(TypedDict):
    """Numbers of the feature and of the codes that are read, those of a picture, and the shares of the feature and of both."""

    feature: int
    codes: int
    picture: int
    share_of_feature: float
    share: float


def capacity(model: Translator) -> Capacity:
    """Of a model, as it is used for inversion."""
    numbers = model.numbers()
    return shares(feature=numbers["feature"], codes=numbers["codes"], size=model.decoder.size)


def shares(*, feature: int, codes: int, size: int) -> Capacity:
    """Of so many numbers, beside the 3 size^2 of a picture."""
    picture = 3 * size**2
    return {
        "feature": feature,
        "codes": codes,
        "picture": picture,
        "share_of_feature": feature / picture,
        "share": (feature + codes) / picture,
    }
