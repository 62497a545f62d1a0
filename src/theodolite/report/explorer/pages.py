"""The page's own files, read once from the package: what is served and what is put into an exported page."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

__all__ = ["MODULES", "TYPES", "files"]

#: Suffix -> media type.
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

#: JavaScript modules, those that are imported before those that import them.
MODULES = (
    *("dom.js", "axis.js", "colour.js", "source.js", "layers.js", "plot.js", "frame.js"),
    *("phase.js", "condensation.js", "staircase.js", "regions.js", "descent.js", "store.js", "main.js"),
)


@functools.cache
def files() -> Mapping[str, str]:
    """Name -> text of every file of the page. A request can only name one of these; nothing else is ever opened."""
    folder = resources.files("theodolite.report.explorer").joinpath("static")
    names = ("index.html", "explorer.css", "icon.svg", *MODULES)
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in names}
