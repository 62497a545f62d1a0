"""The live display of a running sweep: tiles done, failed cells, cells per second, time left."""

from __future__ import annotations

import time
from typing import Any

from theodolite.lab.tile import Receipt

__all__ = ["Display", "duration"]


def duration(seconds: float) -> str:
    """A time span in the two units that matter.

    Example:
        >>> duration(0.0031), duration(42), duration(5000), duration(180000)
        ('3.1 ms', '42 s', '1 h 23 min', '2 d 2 h')
    """
    if seconds < 1:
        return f"{seconds * 1e3:.2g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


class Display:
    """Counts receipts and, on a terminal, shows them. Used as a context manager.

    Args:
        title: what is running.
        tiles: number of tiles in all.
        done: number of them that were committed before.
    """

    def __init__(self, title: str, tiles: int, done: int) -> None:
        self.cells = self.failed = 0
        self.doubt = ""
        self._begin = time.monotonic()
        self._title, self._tiles, self._done = title, tiles, done
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Display:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("tiles"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.fields[clock]}"),
                console=console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._tiles, completed=self._done, rate="", clock="left")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def receive(self, receipt: Receipt) -> None:
        """Count a receipt and show it."""
        self._done += 1
        self.doubt = self.doubt or receipt.doubt
        # Tiles that another run committed meanwhile say nothing about the speed of this one.
        if not receipt.repeated:
            self.cells += receipt.cells
            self.failed += receipt.failed
        if self._bar is not None:
            rate = f"{self.cells / max(time.monotonic() - self._begin, 1e-9):.3g} cells/s"
            if self.failed:
                rate += f", [red]{self.failed} failed[/red]"
            self._bar.update(self._task, completed=self._done, rate=rate, clock="left" if self._done < self._tiles else "in all")
