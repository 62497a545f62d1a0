"""When to look: a schedule maps a step number to yes or no, and can list the looks of a run of known length."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from theodolite.core.errors import ArgumentError

__all__ = ["Schedule", "as_schedule", "every", "log_spaced"]


@dataclass(frozen=True)
class Schedule:
    """A rule ``step -> bool`` (step 0 is the state before any training) with a name for records.

    Example:
        >>> every(100).looks(250)
        [0, 100, 200, 250]
    """

    rule: Callable[[int], bool]
    name: str

    def __call__(self, step: int) -> bool:
        """Whether to look at ``step``."""
        return bool(self.rule(step))

    def looks(self, steps: int) -> list[int]:
        """All steps in 0..``steps`` at which to look; the first and the last are always among them."""
        return sorted({0, steps} | {s for s in range(steps + 1) if self(s)})


def every(n: int) -> Schedule:
    """Look at steps 0, n, 2n, …

    Example:
        >>> [s for s in range(7) if every(3)(s)]
        [0, 3, 6]
    """
    if n < 1:
        raise ArgumentError(f"n must be at least 1, got {n}")
    return Schedule(lambda step: step % n == 0, f"every({n})")


def log_spaced(per_decade: int) -> Schedule:
    """Look at step 0 and at the rounded geometric grid 10^(k/per_decade): as many looks in 1..10 as in 1000..10000.

    Example:
        >>> log_spaced(3).looks(100)
        [0, 1, 2, 5, 10, 22, 46, 100]
    """
    if per_decade < 1:
        raise ArgumentError(f"per_decade must be at least 1, got {per_decade}")
    grid = {0} | {round(10 ** (k / per_decade)) for k in range(per_decade * 12 + 1)}
    return Schedule(grid.__contains__, f"log_spaced({per_decade})")


def as_schedule(when: Schedule | Callable[[int], bool] | Iterable[int]) -> Schedule:
    """Any of a `Schedule`, a callable ``step -> bool`` or a list of steps, as a `Schedule`.

    Example:
        >>> as_schedule([0, 10]).looks(12)
        [0, 10, 12]
    """
    if isinstance(when, Schedule):
        return when
    if callable(when):
        return Schedule(when, getattr(when, "__name__", "custom"))
    try:
        steps = frozenset(operator.index(s) for s in when)
    except TypeError:
        raise ArgumentError(f"when must be a schedule, a callable step -> bool or a list of steps, got {when!r}") from None
    return Schedule(steps.__contains__, f"steps({sorted(steps)})")
