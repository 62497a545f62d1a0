"""``theodolite bench NAME``: needs the benchmarks folder of the repository."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from theodolite.core.errors import ArgumentError

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Run benchmarks from the repository that the package was installed from, or from the working folder."""
    import theodolite

    for folder in (Path.cwd(), Path(theodolite.__file__).parents[2]):
        if (folder / "benchmarks" / "run.py").is_file():
            sys.path.insert(0, str(folder))
            from benchmarks.run import main as run

            return int(run(words))
    raise ArgumentError("the benchmarks are part of the repository, not of the installed package; run this inside a clone")
