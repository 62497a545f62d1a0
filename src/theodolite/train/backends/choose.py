"""Choosing a backend by what is to be trained, and checking it against plain autograd on the first steps."""

from __future__ import annotations

from collections.abc import Callable

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.backends.eager import AutogradBackend, EagerBackend
from theodolite.train.network import Network

__all__ = ["choose_backend"]


def choose_backend(job: Job, name: str, check: bool, sample: Callable[[int], Segment]) -> Backend:
    """The backend of a run."""
    if isinstance(job.model, Network):
        return EagerBackend(job)
    return AutogradBackend(job)
