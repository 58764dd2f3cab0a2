"""Table "the tasks": losses of the published commands beside the paper's, from the library's registry."""

from pspnb.tasks import TASKS


def _weights(weights) -> str:
    if weights is None:
        return "–"
    names = {"l2": "L2", "lpips": "LPIPS", "id": "ID", "moco": "MoCo", "w_norm": "w-norm"}
    names |= {"l2_crop": "L2 crop", "lpips_crop": "LPIPS crop"}
    return ", ".join(f"{name} {getattr(weights, key):g}" for key, name in names.items() if getattr(weights, key))


def text() -> str:
    """A markdown table with one row for each task."""
    lines = ["| task | the paper | the published command, our default | remarks |", "|---|---|---|---|"]
    for task in TASKS.values():
        row = (task.name, _weights(task.paper_weights), _weights(task.weights), task.differs.replace("|", "/") or "–")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"
