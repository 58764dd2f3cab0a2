"""Table "the tasks": losses of the published commands beside the paper's, from the library's registry; then the remarks."""

from pspnb.tasks import TASKS


def _weights(weights) -> str:
    if weights is None:
        return "–"
    names = {"l2": "L2", "lpips": "LPIPS", "id": "ID", "moco": "MoCo", "w_norm": "w-norm"}
    names |= {"l2_crop": "L2 crop", "lpips_crop": "LPIPS crop"}
    return ", ".join(f"{name} {getattr(weights, key):g}" for key, name in names.items() if getattr(weights, key))


def text() -> str:
    """A markdown table with one row for each task, and the remarks below it."""
    lines = ["| task | the paper | the published command, our default |", "|---|---|---|"]
    for task in TASKS.values():
        lines.append(f"| `{task.name}` | {_weights(task.paper_weights)} | {_weights(task.weights)} |")
    remarks = [f"- `{task.name}`: {task.differs}" for task in TASKS.values() if task.differs]
    return "\n".join([*lines, "", *remarks]) + "\n"
