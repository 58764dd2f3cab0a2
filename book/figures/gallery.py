"""The gallery of the landing page: a card for everything that the shipped models can do (`_gallery.ROWS`)."""

from _gallery import ROWS, shipped, strip

CARD = """:::{{grid-item-card}} {title}
![{alt}](figures/generated/{file})

{text}
:::
"""


def text() -> str:
    rows = [row for row in ROWS if shipped(row.needs)]
    cards = [
        CARD.format(title=row.title, alt=row.alt, text=row.text, file=strip(row.name, row.needs, row.draw))
        for row in rows
    ]
    return "::::{grid} 1 1 2 2\n:gutter: 3\n:class-container: gallery\n\n" + "\n".join(cards) + "::::\n"
