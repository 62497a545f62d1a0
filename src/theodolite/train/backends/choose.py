"""Choosing a backend by what is to be trained, and checking it against plain autograd on the first steps."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, NumericalError, TheodoliteWarning
from theodolite.core.seed import generator
from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.backends.compiled import CompiledBackend, why_not_compiled
from theodolite.train.backends.eager import AutogradBackend, EagerBackend
from theodolite.train.backends.fused import FusedBackend, why_not_fused
from theodolite.train.backends.graphed import GraphBackend, why_not_graphed
from theodolite.train.network import Network

__all__ = ["CHECKED_STEPS", "check_backend", "choose_backend"]

#: Steps that a backend and plain autograd are both carried through before a run.
CHECKED_STEPS = 2
#: Slots of a chunk that must be full.
FULL = 16
Sample = Callable[[int, int], Segment]
#: Shorter runs are over before a kernel is compiled.
FEW_STEPS = 200
#: A cold `torch.compile` can cost a minute: only longer runs win it back.
MANY_STEPS = 500_000


def choose_backend(job: Job, name: str, check: bool, sample: Sample) -> Backend:
    """The backend of a run.

    The choice looks at the job, never at the number of members: a member's numbers must not depend on its company.

    Args:
        job: what to train.
        name: ``"auto"`` or the backend asked for.
        check: compare it with autograd.
        sample: (number of steps, of members) -> those first steps, on copies.

    Raises:
        ArgumentError: the backend asked for cannot do the job; the reason is given.
        NumericalError: the backend asked for disagrees with autograd.
    """
    if not isinstance(job.model, Network):
        if name not in ("auto", "eager"):
            raise ArgumentError(f"backend {name!r} trains ensembles of an MLPSpec; one made from a module needs 'eager'")
        return _settled(AutogradBackend(job), sample)
    backend = _make(job, _automatic(job) if name == "auto" else name)
    if not job.steps:
        return backend
    if check:
        reason = check_backend(backend, sample)
        if reason and name != "auto":
            raise NumericalError(f"backend {backend.name!r} disagrees with autograd on the first steps: {reason}")
        if reason:
            message = f"backend {backend.name!r} disagrees with autograd ({reason}); using autograd"
            warnings.warn(message, TheodoliteWarning, stacklevel=6)
            backend = AutogradBackend(job)
    return _settled(backend, sample)


def _automatic(job: Job) -> str:
    if not why_not_graphed(job) and job.steps >= FEW_STEPS:
        return "cudagraph"
    if not why_not_fused(job) and job.steps >= FEW_STEPS:
        return "numba"
    if not why_not_compiled(job) and job.steps >= MANY_STEPS:
        return "compile"
    return "eager"


def _make(job: Job, name: str) -> Backend:
    makers: dict[str, tuple[type[Backend], Callable[[Job], str]]] = {
        "eager": (EagerBackend, lambda job: ""),
        "numba": (FusedBackend, why_not_fused),
        "compile": (CompiledBackend, why_not_compiled),
        "cudagraph": (GraphBackend, why_not_graphed),
    }
    make, why_not = makers[name]
    reason = why_not(job)
    if reason:
        raise ArgumentError(f"backend {name!r} cannot train this: {reason}; use backend='auto'")
    return make(job)


def _settled(backend: Backend, sample: Sample) -> Backend:
    """The backend, its layout as free as a member's bits allow: chunks are packed densely where the slot does not matter, and are
    full where the number of slots in use does.
    """
    layout, job = backend.layout, backend.job
    if not layout.slotted or layout.size == 1 or (layout.idle is None and job.device.type != "cpu"):
        return backend
    names = (job.loss.name, str(job.optimizer), str(job.device), backend.name)
    key = (_shapes(sample(1, 2)), layout, job.batch, *names, id(type(job.model)))
    if key not in _SETTLED:
        _SETTLED[key] = _freedom(backend, sample)
    count_is_free, slot_is_free = _SETTLED[key]
    if not count_is_free:
        # Small full chunks: a single member pays for all slots.
        backend.layout = dataclasses.replace(layout, size=min(layout.size, FULL), idle=None)
    elif slot_is_free:
        backend.layout = dataclasses.replace(layout, slotted=False)
    return backend


#: What has been found out in this process: job -> whether the number of slots in use, and the slot, leave a member's bits alone.
_SETTLED: dict[Any, tuple[bool, bool]] = {}


def _shapes(segment: Segment) -> tuple[Any, ...]:
    tensors = (*segment.params, segment.x, segment.y)
    return tuple((tuple(t.shape), t.dtype) for t in tensors)


def _freedom(backend: Backend, sample: Sample) -> tuple[bool, bool]:
    """Whether a member's bits are the same for any number of slots in use, and in any slot."""
    job, size, idle = backend.job, backend.layout.size, backend.layout.idle or 0
    # Other parameters in every slot, the same for every ensemble: what is settled must not depend on the members.
    stream = generator(0, "stir")
    first = sample(CHECKED_STEPS, 1)
    noise = [
        torch.randn(size + idle, *p.shape[1:], generator=stream, dtype=p.dtype).to(p.device) / p[0].numel() ** 0.5
        for p in first.params
    ]

    def moved(slots: Tensor) -> list[Tensor]:
        """Parameters after the first steps, of members that sit in ``slots`` in turn and differ by their parameters alone."""
        segment = sample(CHECKED_STEPS, len(slots))
        segment.params = [n[slots].clone() for n in noise]
        segment.state = job.optimizer.start(segment.params, job.groups)
        segment.lr = [_repeated(rate, len(slots)) for rate in first.lr]
        segment.x, segment.y = (_repeated(one, len(every)) for one, every in ((first.x, segment.x), (first.y, segment.y)))
        if first.batches is not None:
            batch = first.batches
            segment.batches = lambda step: batch(step).expand(len(slots), -1)
        backend.run(segment)
        return segment.params

    everyone = torch.arange(size + idle)
    whole = moved(everyone)
    counts = [] if backend.layout.idle is None else sorted({1, 2, size // 2 + 1})
    count_is_free = all(
        torch.equal(p[:used], w[:used]) for used in counts for p, w in zip(moved(everyone[: used + idle]), whole, strict=True)
    )
    turned = torch.cat([everyone[:size].roll(1), everyone[size:]])
    slot_is_free = all(torch.equal(p[:size], w[turned[:size]]) for p, w in zip(moved(turned), whole, strict=True))
    return count_is_free, slot_is_free


def _repeated(first: Tensor, slots: int) -> Tensor:
    return first.expand(slots, *first.shape[1:]).contiguous()


def check_backend(backend: Backend, sample: Sample) -> str:
    """Why a backend's first steps disagree with plain autograd, or an empty string.

    The yardstick is what rounding may do: autograd's own distance between the run's precision and float64, and how far a last-digit
    change of parameters and inputs reaches. (Adam divides by the gradient's size, so that where sums over samples cancel, its first
    steps carry the rounding of the sums and not that of the parameters.)
    """
    job = backend.job
    slots = backend.layout.size if backend.layout.idle is None and backend.layout.slotted else 2
    tried, plain, exact, shaken = (sample(CHECKED_STEPS, slots) for _ in range(4))
    exact, shaken = _in_double(exact), _in_double(shaken)
    eps, stream = torch.finfo(job.dtype).eps, generator(0, "shake")
    shaken.x = shaken.x.clone()
    for value in (*shaken.params, shaken.x):
        value.mul_(1 + eps * torch.randn(value.shape, generator=stream, dtype=value.dtype).to(value.device))
    losses = backend.run(tried)
    wanted = AutogradBackend(job).run(plain)
    double = AutogradBackend(dataclasses.replace(job, dtype=torch.float64))
    double.run(exact)
    double.run(shaken)
    tolerance = 1e3 * eps
    for k, (got, want, true, moved) in enumerate(zip(tried.params, plain.params, exact.params, shaken.params, strict=True)):
        size = true.flatten(1).norm(dim=1)
        if not bool(torch.isfinite(size).all()):
            continue  # the first steps already diverge: nothing to compare
        rounding = [(other.double() - true).flatten(1).norm(dim=1) for other in (want, moved)]
        allowed = tolerance * size + 10 * rounding[0] + 100 * rounding[1]
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
