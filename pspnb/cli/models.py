"""`pspnb models`: what is shipped, and where the official files are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional

from pspnb.cli.options import optional


@dataclass(frozen=True)
class Models:
    """List the shipped models with their metrics and licences, and download links of official checkpoints."""

    name: Positional[Annotated[str | None, optional("NAME")]] = None
    """Print the full model card of this shipped model instead."""

    def run(self) -> int:
        import json

        from pspnb.models import zoo

        if self.name is not None:
            print(json.dumps(zoo.card(self.name), indent=2, ensure_ascii=False))
            return 0
        print("shipped models:" if zoo.available() else "no models are shipped with this installation")
        for name in zoo.available():
            print(name, *_card_lines(name), sep="\n    ")
        print("\nofficial files, to be downloaded by you (their licences are their authors'):")
        for name, file in zoo.OFFICIAL.items():
            print(name, file.what, file.url, f"licence: {file.licence}", sep="\n    ")
        return 0


def _card_lines(name: str) -> list[str]:
    from pspnb.models import zoo

    card = zoo.card(name)
    numbers = [f"{key} {value}" for key, value in card.get("metrics", {}).items()]
    more = [f"and {len(numbers) - 6} more (pspnb models {name})"] if len(numbers) > 6 else []
    metrics = ", ".join(numbers[:6] + more)
    shown = (card.get("title"), metrics, f"licence: {card['licence']}" if "licence" in card else None)
    return [str(line) for line in shown if line]
