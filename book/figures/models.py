"""Table "shipped models", from the cards beside the weights."""

from pspnb.models import zoo


def text() -> str:
    """A markdown table with one row for each model, or a sentence if there is none."""
    names = zoo.available()
    if not names:
        return "None yet.\n"
    cards = {name: zoo.card(name) for name in names}
    lines = ["| name | what | size | steps |", "|---|---|---:|---:|"]
    for name, card in cards.items():
        what = card.get("title", "–") + (f" ({card['note']})" if card.get("note") else "")
        size = f"{card['bytes'] / 1e6:.1f} MB"
        lines.append(f"| `{name}` | {what} | {size} | {card['steps']:,} |")
    shared = {
        what: " / ".join(sorted({card[key] for card in cards.values()}))
        for what, key in {"Data": "data", "Hardware": "hardware", "Licence": "licence"}.items()
    }
    return "\n".join(lines) + "\n\n" + " ".join(f"{what}: {values}." for what, values in shared.items()) + "\n"
