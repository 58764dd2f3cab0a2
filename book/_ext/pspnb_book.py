"""What the book's build needs beyond Jupyter Book: figures drawn when they are out of date, links to the clone's own host."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "book" / "figures"
GENERATED = FIGURES / "generated"


def draw_figures(app, config) -> None:
    """Run the scripts of book/figures: `draw()` gives a figure, written as SVG; `text()` markdown that a page includes.

    A figure is drawn again when its script or the code that it shows has changed; the texts are cheap and always made.
    """
    from pspnb.show.figures import save_svg

    sys.path.insert(0, str(FIGURES))
    GENERATED.mkdir(exist_ok=True)
    library = [path for folder in ("nn", "facets") for path in (ROOT / "pspnb" / folder).rglob("*.py")]
    shared = [*FIGURES.glob("_*.py"), ROOT / "pspnb" / "show" / "figures.py", *library]
    for script in sorted(set(FIGURES.glob("[a-z]*.py")) - {FIGURES / "quoted.py"}):
        picture = GENERATED / f"{script.stem}.svg"
        newest = max(path.stat().st_mtime for path in (script, *shared))
        if picture.exists() and picture.stat().st_mtime >= newest:
            continue
        module = importlib.import_module(script.stem)
        if hasattr(module, "draw"):
            unfinished = picture.with_suffix(".part")
            save_svg(module.draw(), unfinished)
            unfinished.replace(picture)
        else:
            (GENERATED / f"{script.stem}.md").write_text(module.text(), encoding="utf-8")


def quote_numbers(app, config) -> None:
    """Values of book/figures/quoted.py become `{{ name }}` in every page."""
    config.myst_substitutions = {**config.myst_substitutions, **importlib.import_module("quoted").values()}


def github_address() -> str | None:
    """Address of this clone's repository if it is on GitHub: PSPNB_REPOSITORY, else the remote "origin"."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    try:
        remote = subprocess.run(command, capture_output=True, text=True).stdout
    except FileNotFoundError:  # a source archive on a machine without git
        remote = ""
    remote = os.environ.get("PSPNB_REPOSITORY") or remote
    match = re.match(r"(?:https://|git@|ssh://git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", remote.strip())
    return f"https://github.com/{match[1]}" if match else None


def link_repository(app, config) -> None:
    """Colab, repository and issue buttons, where there is a repository that they can point at."""
    if address := github_address():
        options = config.html_theme_options
        options |= {"repository_url": address, "repository_branch": "main", "path_to_docs": ""}
        options |= {"use_repository_button": True, "use_issues_button": True}
        options["launch_buttons"] = {
            **options.get("launch_buttons", {}),
            "colab_url": "https://colab.research.google.com",
        }


def leave_out_thebe(app, pagename, templatename, context, doctree) -> None:
    """Take sphinx-thebe's scripts off the page: Jupyter Book loads them although thebe is off, and their constants twice."""

    def is_thebe(script: object) -> bool:
        filename, attributes = getattr(script, "filename", ""), getattr(script, "attributes", {})
        return "sphinx-thebe" in str(filename) or "THEBE_JS_URL" in str(attributes.get("body", ""))

    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]


def setup(app) -> dict[str, bool]:
    app.connect("config-inited", draw_figures)
    app.connect("config-inited", quote_numbers)
    app.connect("config-inited", link_repository)
    app.connect("html-page-context", leave_out_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
