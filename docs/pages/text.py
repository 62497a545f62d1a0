"""Text on its way into a page: files, Markdown tables, and docstrings that were written as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["experiment_link", "linked", "markdown_table", "plain_to_rst", "put"]


def put(path: Path, text: str) -> None:
    """Write ``text`` unless it stands there already: Sphinx and the gallery build anew what has a new date or content."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def experiment_link(name: str) -> str:
    """Markdown link to the gallery's page of an experiment; a script's name carries its topic, as names of scripts must be unique."""
    return f"{{doc}}`{name} </gallery/experiments/{name.partition('.')[0]}/{name.replace('.', '_')}>`"


def linked(text: str) -> str:
    """Markdown in which every `td.name` in backticks leads to its place in the reference."""
    return re.sub(r"(?<![}\w])`(td(?:\.\w+)+)`", r"{py:obj}`\1`", text)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks inside cells are made harmless."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(cell).split())) for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *(line(row) for row in rows)])


def plain_to_rst(line: str) -> str:
    """A line of a docstring as reStructuredText: |x|, x* and x_ are mathematics there, not substitutions, emphasis and links.

    What stands in backticks stays as it is.
    """
    parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    text = re.sub(r"(?<!\\)([|*])", r"\\\1", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
