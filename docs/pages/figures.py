"""Figures of gallery scripts: the package's figures belong to no global registry, so they are found among a script's names."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

#: Figures already shown, by identity; kept alive so that an identity is not given twice.
_SHOWN: dict[int, Figure] = {}


def scrape(block: tuple[Any, ...], block_vars: dict[str, Any], gallery_conf: dict[str, Any], **options: Any) -> str:
    """Save the figures that this block of a script has made, and return the markup that shows them."""
    paths = []
    for name, value in block_vars["example_globals"].items():
        if isinstance(value, Figure) and id(value) not in _SHOWN and not name.startswith("_"):
            _SHOWN[id(value)] = value
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
