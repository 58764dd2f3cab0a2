"""Table "shipped models", from the cards beside the weights."""

from pspnb import hub


def text() -> str:
    """A markdown table with one row for each model, or a sentence if there is none."""
    names = hub.available()
    if not names:
        return "None yet.\n"
    lines = ["| name | what | size | training | licence |", "|---|---|---|---|---|"]
    for name in names:
        card = hub.card(name)
        what = card.get("title", "–") + (f" ({card['note']})" if card.get("note") else "")
        training = f"{card['data']}; {card['steps']:,} steps, seed {card['seed']}, {card['hardware']}"
        lines.append(f"| `{name}` | {what} | {card['bytes'] / 1e6:.1f} MB | {training} | {card['licence']} |")
    return "\n".join(lines) + "\n"
