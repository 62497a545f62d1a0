"""Sphinx settings. Pages are written from the package at every build; no page asks any other host for anything."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

from pages import experiments, generate, reference, text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Theodolite"
author = "The Theodolite developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "pages.mathml",
]
exclude_patterns = [
    "_build",
    "tutorials",
    "generated/experiments",
    "claims",
    "sg_execution_times.rst",
    "**/sg_execution_times.rst",
]
suppress_warnings = ["myst.xref_missing", "myst.header"]

html_theme = "furo"
html_title = "Theodolite"
html_static_path = ["_static"]
html_css_files = ["theodolite.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00598C", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#6CB8E6", "color-brand-content": "#6CB8E6"},
}

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 88
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials", "generated/experiments"],
    "gallery_dirs": ["gallery/tutorials", "gallery/experiments"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "subsection_order": [f"generated/experiments/{topic}" for topic in experiments.topics_with_experiments()],
    "within_subsection_order": "pages.order.ReadingOrder",
    "image_scrapers": ("pages.figures.scrape",),
    "reset_modules": (),
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "abort_on_example_error": False,
}

# A script's warnings belong to its page; those about the display they would be shown on do not.
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def _plain_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are written to be read as they stand; make their mathematics harmless to reStructuredText."""
    if what == "attribute" and "\n".join(lines).strip() == (inspect.getdoc(obj) or "").strip():
        lines.clear()  # the documentation of the value's type says nothing of the value
    example = False
    for number, line in enumerate(lines):
        example = (example and bool(line.strip())) or line.lstrip().startswith(">>>")
        if not example:
            lines[number] = text.plain_to_rst(line)


def _skipped(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples are described in the section of attributes."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Write the generated pages before anything is read."""
    reference.faces()
    app.connect("builder-inited", lambda _: generate(HERE), priority=100)
    app.connect("autodoc-process-docstring", _plain_docstring, priority=100)
    app.connect("autodoc-skip-member", _skipped)
