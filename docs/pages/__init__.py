"""Pages that are written from the package itself at every build, so that they cannot go stale."""

from __future__ import annotations

from pathlib import Path

__all__ = ["generate"]


def generate(docs: Path) -> None:
    """Write all generated pages below ``docs/generated``; a page whose content has not changed is left untouched."""
    from pages import chapters, chooser, claims, corrections, experiments, reference

    target = docs / "generated"
    for made in (chapters, chooser, claims, corrections, experiments, reference):
        made.write(target)
