"""``theodolite bench NAME``: ours beside every peer, from the clone, or from the copy of the cases in an installed package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from theodolite.core.errors import ArgumentError

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Run benchmark cases; a clone keeps results in ``benchmarks/results``, an installed package in ``./benchmarks``."""
    import theodolite

    package = Path(theodolite.__file__).parent
    for folder in (package.parents[1], package / "_bench"):
        if (folder / "benchmarks" / "run.py").is_file():
            sys.path.insert(0, str(folder))
            from benchmarks.run import main as run

            return int(run(words))
    raise ArgumentError("this installation holds no benchmark cases; install the wheel, or run this in a clone")
