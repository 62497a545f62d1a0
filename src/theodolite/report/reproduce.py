"""Run an experiment by name."""

from __future__ import annotations

from typing import Any

from theodolite.core.record import Record
from theodolite.core.registry import experiment

__all__ = ["reproduce"]


def reproduce(name: str, *, scale: str = "paper", **settings: Any) -> Record:
    """Run the experiment ``name`` and return its record.

    Args:
        name: as ``theodolite list`` shows, e.g. ``"rank.staircase"``.
        scale: ``"paper"`` for the size of the paper, ``"small"`` for a run of seconds.
        settings: any setting of the experiment, to change its default.

    Raises:
        UnknownNameError: no such experiment, or no such setting; the nearest names are listed.
    """
    return experiment(name).with_settings(scale, **settings).run()
