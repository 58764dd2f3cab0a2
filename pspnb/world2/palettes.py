"""Curated colours, sRGB in [0, 1]. Nothing here is random: harmony comes from choosing among colours that go together."""

from typing import Final

Colour = tuple[float, float, float]


def _hex(text: str) -> tuple[Colour, ...]:
    return tuple(tuple(int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)) for c in text.split())  # type: ignore[misc]


# Skin: nine anchors at equal CIELAB distances (Delta E 76) along one smooth curve from fair to deep.
SKIN: Final = _hex("fedfc9 f8ceae e8b892 d3a079 bb8863 a37150 8a5c40 724a34 5b3c2d")
HAIR: Final = _hex("211d22 382922 553a28 74492b 823c24 b0602c bb8a4e dcbd80 8c8b90 dcdad6")
IRIS: Final = _hex("40281a 6b4425 86703c a8742c 5c8450 7d8c96 5a93c4 3566a6")
METAL: Final = _hex("e8bf57 d3d8df e3a487 e8735f 3fb4ae")
FRAME: Final = _hex("26262b 6d4226 c29a45 b03a3e 345c94 b7c3cb")
HAT: Final = _hex("c8553d 2f5d62 e0b04c 7a4f78 3d5a80 8a9a5b e9dcc3 4a4a52 d98e8e 5b8e7d")
# Background: wall colour and pattern colour, near each other so the person stays the subject.
BACKGROUND_A: Final = _hex(
    "f3dfc1 c9dde0 ddd0e6 f0cdbc bcd4c0 e8e2d4 a9c4d9 f2d48f 7f9ea8 b58d8d 8fa384 6c7a9c d8a48f 5f8084 efe6ee 9d88a8"
)
BACKGROUND_B: Final = _hex(
    "e3a587 7fb0b5 a994c4 d98c7a 82ab8c b9ad97 6f98bd e59f5a 56727d 8d5f66 647a5c 4a5678 a9695c 3f5b60 c7a3bd 73608a"
)
# Clothes: ground, pattern and trim.
CLOTH_A: Final = _hex(
    "2f4858 b5473c f0e6d2 5b7553 d9a441 364a73 8c5a78 dfe7ea 434048 c9796a 4e8a8b e8c7b9 7b6a58 a5b8c9 6d2f3f 93a57c"
)
CLOTH_B: Final = _hex(
    "e9c46a f4dcc0 c4574a e6dcb4 734a2e cfd9e8 eac8d4 5b7fa6 d98e57 fbe9dc f2e2c4 8a4b58 e5d3b0 3d5878 e2b8a6 f3ead0"
)
CLOTH_C: Final = _hex(
    "f7efe0 5c2b2b 4b6584 2f3e2c f6ecd0 e07a5f 4a2c44 d66a5a e8e4dc 5f3a3c 23494c d9776c 3e342b f2e6c9 f5e6d8 4c5a3a"
)
