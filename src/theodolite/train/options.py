"""What a training run may be asked beyond its data, loss, optimiser and schedule."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theodolite.core.errors import ArgumentError, unknown

__all__ = ["BACKENDS", "Options"]

BACKENDS = ("auto", "eager", "compile", "numba", "cudagraph")


@dataclass(frozen=True)
class Options:
    """Options of `Ensemble.train`.

    Attributes:
        test: (x, y) on which ``test_loss`` is measured at every look.
        batch_size: samples per step; None: all of them. Every member shuffles by its own stream.
        backend: ``"auto"``, ``"eager"``, ``"compile"``, ``"numba"`` or ``"cudagraph"``. ``"auto"`` looks at the specification,
            the data and the number of steps, never at the number of members.
        check: compare the backend with plain autograd on the first steps.
        target_loss: a member whose training loss at a look is at or below it has converged and stops.
        diverge_above: a member whose loss exceeds it has diverged and stops; a non-finite loss always counts.
        probe_inputs: inputs that probes see; None: the training inputs.
        curve: record the loss of every step.
        checkpoint: file that the state is written to, atomically; an existing one is resumed.
        checkpoint_seconds: least time between two checkpoints.
        progress: show a bar over looks.
    """

    test: tuple[Any, Any] | None = None
    batch_size: int | None = None
    backend: str = "auto"
    check: bool = True
    target_loss: float | None = None
    diverge_above: float = float("inf")
    probe_inputs: Any = None
    curve: bool = True
    checkpoint: str | Path | None = None
    checkpoint_seconds: float = 30.0
    progress: bool = False

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise unknown("backend", str(self.backend), BACKENDS)
        if self.batch_size is not None and self.batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.test is not None and len(self.test) != 2:
            raise ArgumentError(f"test must be a pair (x, y), got {len(self.test)} items")

    @classmethod
    def of(cls, options: dict[str, Any]) -> Options:
        """Options from keywords.

        Raises:
            UnknownNameError: an option that does not exist.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise unknown("option of train", name, known)
        return cls(**options)
