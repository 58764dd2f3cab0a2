"""Execute notebooks in place, with the outputs that get committed.

    python tools/run_notebooks.py notebooks/01_shapes.ipynb [...]

The same as `jupyter nbconvert --execute --inplace` without time stamps, and with widget ids that depend on nothing but the
notebook's name and their order, so that running an unchanged notebook again changes no line of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

KEPT = ("kernelspec", "language_info", "widgets", "mystnb")


def execute(path: Path) -> float:
    """Run the notebook in its own folder and write it back; returns the seconds that took. A failing cell writes nothing."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    start = time.perf_counter()
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources, record_timing=False).execute()
    seconds = time.perf_counter() - start
    tidy(notebook)
    nbformat.write(stable_widget_ids(notebook, path.stem), path)
    return seconds


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Leave out what differs from machine to machine."""
    notebook.metadata = {key: notebook.metadata[key] for key in KEPT if key in notebook.metadata}
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def stable_widget_ids(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Replace the random model ids of the widgets by hashes of the notebook's name and their order of creation."""
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    text = json.dumps(notebook)
    for number, old in enumerate(widgets.get("state", {})):
        text = text.replace(old, hashlib.md5(f"{name} {number}".encode()).hexdigest())
    return nbformat.reads(text, as_version=4)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"{argument}: {execute(Path(argument)):.1f} s")
