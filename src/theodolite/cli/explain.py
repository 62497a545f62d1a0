"""``theodolite explain NAME``."""

from __future__ import annotations

from collections.abc import Sequence

from theodolite.cli.parse import command

__all__ = ["main"]


def run(name: str, /) -> None:
    """What a quantity, experiment or claim means, and its paper.

    Args:
        name: as theodolite list shows it.
    """
    from theodolite.report.explain import explain

    print(explain(name))


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "explain")
    return 0
