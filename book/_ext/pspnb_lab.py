"""The lab pages of the book: their models and pictures are made before the build, and a page without its model is left out."""

from __future__ import annotations

import json
import os
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / "book" / "_static" / "lab" / "generated"
FOLDER = "book/lab"
logger = logging.getLogger(__name__)


def roles() -> dict[str, str]:
    """Which model fills which part; `PSPNB_LAB="generator=runs/x,sketch=runs/y"` tries others than the shipped ones."""
    from pspnb.show.lab import ROLES

    given = os.environ.get("PSPNB_LAB", "")
    return ROLES | dict(pair.split("=", 1) for pair in given.split(",") if pair)


def prepare(app, config) -> None:
    """Make what the pages load, unless it is newer than everything that it is made of."""
    from pspnb.models.zoo import ZOO
    from pspnb.show.lab import build, models_of

    about = PREPARED / "lab.json"
    package = ROOT / "pspnb"
    sources = [*ZOO.iterdir(), *(package / "show").glob("lab*.py"), *(package / "models").glob("onnx*.py")]
    sources += [*(package / "world2").rglob("*.py"), *(package / "nn").rglob("*.py")]
    changed = max(path.stat().st_mtime for path in sources)
    if os.environ.get("PSPNB_LAB") or not about.is_file() or about.stat().st_mtime < changed:
        models, absent = models_of(roles())
        for role, reason in absent.items():
            logger.info("lab: no %s (%s)", role, reason)
        build(PREPARED, models)


def hide_pages(app, config) -> None:
    """Take the pages that cannot work out of the table of contents and of the build."""
    shown = set(json.loads((PREPARED / "lab.json").read_text(encoding="utf-8"))["pages"])
    site_map = config.external_site_map
    hidden = [name for name in site_map if name.startswith(f"{FOLDER}/") and Path(name).stem not in shown]
    if not hidden:
        return
    logger.info("lab: left out %s", ", ".join(hidden))
    for name in hidden:
        del site_map[name]
    for document in site_map.values():
        for tree in document.subtrees:
            tree.items = [item for item in tree.items if str(item) not in hidden]
        document.subtrees = [tree for tree in document.subtrees if tree.items]
    config.exclude_patterns = [*config.exclude_patterns, *(f"{name}.md" for name in hidden)]


NO_SCRIPT = '<noscript><p class="lab-notice">This page needs JavaScript.</p></noscript>'


class Lab(SphinxDirective):
    """`{lab} mix`: the place of the page mix.mjs; the content is shown until it has started.

    With the option `quiet` the content simply stays where the page cannot start.
    """

    required_arguments = 1
    option_spec = {"quiet": directives.flag}
    has_content = True

    def run(self) -> list[nodes.Node]:
        up = "../" * self.env.docname.count("/")
        quiet = " data-quiet" if "quiet" in self.options else ""
        before = nodes.raw("", f'<div class="lab" data-page="{self.arguments[0]}"{quiet}>', format="html")
        after = nodes.raw(
            "",
            f"</div>{'' if quiet else NO_SCRIPT}"
            f'<link rel="stylesheet" href="{up}_static/lab/lab.css"><script src="{up}_static/lab/start.js"></script>',
            format="html",
        )
        return [before, *self.parse_content_to_nodes(), after]


def setup(app) -> dict[str, bool]:
    app.add_directive("lab", Lab)
    app.connect("config-inited", prepare, priority=910)
    app.connect("config-inited", hide_pages, priority=950)  # behind sphinx-external-toc, which reads _toc.yml at 900
    return {"parallel_read_safe": True, "parallel_write_safe": True}
