"""Progress bars for what takes longer than two seconds; silent when the output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = ["progress"]

#: Seconds before a bar appears: shorter work should not flicker.
PATIENCE = 2.0


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items``, with a bar on standard error once they have taken two seconds.

    Args:
        items: what to go through.
        description: shown beside the bar.
        total: number of items, if ``items`` has no length.

    Example:
        >>> sum(progress(range(4), "adding"))
        6
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    start, bar, task = time.monotonic(), None, None
    try:
        for count, item in enumerate(items):
            if bar is None and count and time.monotonic() - start > PATIENCE:
                bar, task = _bar(description, total)
            if bar is not None and task is not None:
                bar.update(task, completed=count)
            yield item
        if bar is not None and task is not None:
            bar.update(task, completed=total)
    finally:
        if bar is not None:
            bar.stop()


def _bar(description: str, total: int | None) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    bar.start()
    return bar, bar.add_task(description, total=total)
