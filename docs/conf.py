"""Sphinx settings: Markdown pages, the topics' own READMEs as chapters, no request to any other host."""

project = "Theodolite"
author = "The Theodolite developers"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Theodolite"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing", "myst.header"]
