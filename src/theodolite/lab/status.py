"""What a sweep says of itself: its plan, its status, its failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from theodolite.lab.display import duration

__all__ = ["Failure", "Plan", "Status"]


class Failure(NamedTuple):
    """A cell that has no result.

    Attributes:
        cell: axis -> value.
        reason: the error in a line, or how its worker ended.
    """

    cell: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a sweep will take.

    Attributes:
        cells: number of cells.
        tiles: number of tiles, of which ``done`` are committed already.
        tile: cells per tile.
        done: committed tiles.
        cost: seconds of one worker for what remains, from timed cells.
        memory: peak bytes of one worker.
        storage: bytes that all results will take on disk, heavy artefacts apart.
        failing: reasons why timed cells failed, each once; their times say nothing about the cells that will not.
    """

    cells: int
    tiles: int
    tile: int
    done: int
    cost: float
    memory: int
    storage: int
    failing: tuple[str, ...] = ()

    def __str__(self) -> str:
        done = f", {self.done} done" if self.done else ""
        warning = "".join(f"\na cell that was timed failed: {reason}" for reason in self.failing)
        return (
            f"{self.cells:,} cells in {self.tiles:,} tiles of {self.tile:,}{done}\n"
            f"about {duration(self.cost)} of one worker, {self.memory / 1e6:,.0f} MB of memory each, "
            f"{self.storage / 1e6:,.3g} MB on disk{warning}"
        )


@dataclass(frozen=True)
class Status:
    """How far a sweep has come.

    Attributes:
        cells: number of cells.
        tiles: number of tiles (0 before the first run, which chooses it).
        done: committed tiles.
        cells_done: cells in them, failed ones included.
        failed: cells that failed.
    """

    cells: int
    tiles: int
    done: int
    cells_done: int
    failed: int

    @property
    def remaining(self) -> int:
        """Tiles to compute."""
        return self.tiles - self.done

    @property
    def complete(self) -> bool:
        """Whether every tile is committed."""
        return self.cells_done == self.cells

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        share = self.cells_done / self.cells
        return f"{self.cells_done:,} of {self.cells:,} cells ({share:.1%}){failed}; {self.done:,} of {self.tiles:,} tiles"
