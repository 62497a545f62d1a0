"""``theodolite papers``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Print every paper with what of it is measured, reproduced and judged."""
    if words:
        print("usage: theodolite papers\n\nThe papers, and what of them is measured, reproduced and judged.")
        return 0 if words[0] in ("-h", "--help") else 2
    from theodolite.report.verify import papers

    print(papers())
    return 0
