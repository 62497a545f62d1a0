"""Choosing a backend by what is to be trained, and checking it against plain autograd on the first steps."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning
from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.backends.eager import AutogradBackend, EagerBackend
from theodolite.train.backends.fused import FusedBackend, why_not_fused
from theodolite.train.network import Network

__all__ = ["CHECKED_STEPS", "check_backend", "choose_backend"]

#: Steps that a backend and plain autograd are both carried through before a run.
CHECKED_STEPS = 2


def choose_backend(job: Job, name: str, check: bool, sample: Callable[[int], Segment]) -> Backend:
    """The backend of a run.

    The choice looks at the job, never at the number of members: a member's numbers must not depend on its company.

    Args:
        job: what to train.
        name: ``"auto"`` or the backend asked for.
        check: compare it with autograd.
        sample: number of steps -> those first steps of one or two members, copied.

    Raises:
        ArgumentError: the backend asked for cannot do the job; the reason is given.
        NumericalError: the backend asked for disagrees with autograd.
    """
    if not isinstance(job.model, Network):
        if name not in ("auto", "eager"):
            raise ArgumentError(f"backend {name!r} trains ensembles of an MLPSpec; one made from a module needs 'eager'")
        return AutogradBackend(job)
    backend = _make(job, _automatic(job) if name == "auto" else name)
    if check and job.steps:
        reason = check_backend(backend, sample)
        if reason and name != "auto":
            raise NumericalError(f"backend {backend.name!r} disagrees with autograd on the first steps: {reason}")
        if reason:
            warnings.warn(f"backend {backend.name!r} disagrees with autograd ({reason}); using autograd", TheodoliteWarning, stacklevel=6)
            return AutogradBackend(job)
    return backend


def _automatic(job: Job) -> str:
    return "eager" if why_not_fused(job) else "numba"


def _make(job: Job, name: str) -> Backend:
    if name == "eager":
        return EagerBackend(job)
    if name == "numba":
        reason = why_not_fused(job)
        if reason:
            raise ArgumentError(f"backend 'numba' cannot train this: {reason}; use backend='auto'")
        return FusedBackend(job)
    raise ArgumentError(f"backend {name!r} is not available")


def check_backend(backend: Backend, sample: Callable[[int], Segment]) -> str:
    """Why a backend's first steps disagree with plain autograd, or an empty string.

    The yardstick is autograd's own rounding: its distance between the run's precision and float64.
    """
    job = backend.job
    tried, plain, exact = sample(CHECKED_STEPS), sample(CHECKED_STEPS), _in_double(sample(CHECKED_STEPS))
    losses = backend.run(tried)
    wanted = AutogradBackend(job).run(plain)
    AutogradBackend(dataclasses.replace(job, dtype=torch.float64)).run(exact)
    tolerance = 1e3 * torch.finfo(job.dtype).eps
    for k, (got, want, true) in enumerate(zip(tried.params, plain.params, exact.params, strict=True)):
        size = true.flatten(1).norm(dim=1)
        if not bool(torch.isfinite(size).all()):
            continue  # the first steps already diverge: nothing to compare
        allowed = tolerance * size + 10 * (want.double() - true).flatten(1).norm(dim=1)
        worst = ((got.double() - true).flatten(1).norm(dim=1) - allowed).amax()
        if not bool(worst <= 0):
            return f"parameter {k} is off by {float(worst):.1e} more than rounding allows"
    if bool(torch.isfinite(wanted).all()) and not torch.allclose(losses.double(), wanted.double(), rtol=1e3 * tolerance, atol=0):
        return f"losses {losses.flatten().tolist()} against {wanted.flatten().tolist()}"
    return ""


def _in_double(segment: Segment) -> Segment:
    def double(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    found = copy.copy(segment)
    found.params, found.lr = [double(p) for p in segment.params], [double(rate) for rate in segment.lr]
    found.state = {slot: [double(s) for s in parts] for slot, parts in segment.state.items()}
    found.x, found.y = double(segment.x), double(segment.y)
    return found
