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
#: Learning rate at which nothing is left of the parameters but the digits of the gradient.
LONG = 2.0**20
#: How far one step of a check moves a layer, as a share of its norm.
STRIDE = 0.1
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
        sample: (number of steps, of networks) -> first steps on the run's data that do not depend on its members.

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
    key = (job.model.kind, _shapes(sample(1, 2)), layout, job.batch, *names)  # type: ignore[attr-defined]
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
    """Whether a member's bits are the same for any number of slots in use, and in any slot.

    A last digit that differs shows only if the step does not round it away: beside steps of usual size, which use the optimiser's
    state, one is taken that is so long that the parameters after it are the digits of the gradient.
    """
    size, idle = backend.layout.size, backend.layout.idle or 0
    everyone = torch.arange(size + idle)
    turned = torch.cat([everyone[:size].roll(1), everyone[size:]])
    counts = [] if backend.layout.idle is None else sorted({1, 2, size // 2 + 1})
    count_is_free = slot_is_free = True
    for steps, rate in ((CHECKED_STEPS, 0.1), (1, LONG)):
        first = sample(steps, size + idle)
        if first.x.is_floating_point():  # the run's own inputs may be so round that nothing is rounded
            noise = torch.randn(first.x.shape[1:], generator=generator(0, "stir"), dtype=first.x.dtype)
            first.x = noise.to(first.x.device).expand_as(first.x).contiguous()
        whole = _taken(backend, first, everyone, rate)
        for used in counts:
            some = _taken(backend, first, everyone[: used + idle], rate)
            count_is_free &= all(_same(p[:used], w[:used]) for p, w in zip(some, whole, strict=True))
        other = _taken(backend, first, turned, rate)
        slot_is_free &= all(_same(p[:size], w[turned[:size]]) for p, w in zip(other, whole, strict=True))
    return count_is_free, slot_is_free


def _taken(backend: Backend, first: Segment, slots: Tensor, rate: float) -> list[Tensor]:
    """Losses and parameters after the segment's steps of its networks ``slots``, which differ by their parameters alone."""
    job, count = backend.job, len(slots)
    segment = copy.copy(first)
    segment.params = [p[slots] for p in first.params]
    segment.state = job.optimizer.start(segment.params, job.groups)
    segment.lr = [torch.full_like(one[slots], rate) for one in first.lr]
    segment.x, segment.y = first.x[:count], first.y[:count]
    segment.buffers, segment.streams = [b[slots] for b in first.buffers], first.streams[:count]
    if first.batches is not None:
        batch = first.batches
        segment.batches = lambda step: batch(step)[:count]
    return [backend.run(segment), *segment.params]


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan())


def check_backend(backend: Backend, sample: Sample) -> str:
    """Why a backend's first steps disagree with plain autograd, or an empty string.

    The steps are those of networks in general position, and as long as shows most: the outcome depends on the job and not on the
    members, whose bits it would change. The yardstick is what rounding may do: autograd's own distance between the run's precision
    and float64, and how far a last-digit change of parameters and inputs reaches. (Adam divides by the gradient's size, so that
    where sums over samples cancel, its first steps carry the rounding of the sums and not that of the parameters.)
    """
    job = backend.job
    slots = backend.layout.size if backend.layout.idle is None and backend.layout.slotted else 2
    tried, plain, exact, shaken = (sample(backend.checked, slots) for _ in range(4))
    exact, shaken = _in_double(exact), _in_double(shaken)
    double = AutogradBackend(dataclasses.replace(job, dtype=torch.float64))
    # many steps go no further than few
    rates = [rate * (CHECKED_STEPS / backend.checked) for rate in _strides(double, _in_double(sample(1, slots)))]
    for segment in (tried, plain, exact, shaken):
        segment.lr = [rate.to(one.dtype) for rate, one in zip(rates, segment.lr, strict=True)]
    eps, stream = torch.finfo(job.dtype).eps, generator(0, "shake")
    shaken.x = shaken.x.clone()
    for value in (*shaken.params, shaken.x):
        value.mul_(1 + eps * torch.randn(value.shape, generator=stream, dtype=value.dtype).to(value.device))
    losses = backend.run(tried)
    wanted = AutogradBackend(job).run(plain)
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


def _strides(double: Backend, segment: Segment) -> list[Tensor]:
    """Learning rates, one tensor per parameter, with which the first step moves every layer by `STRIDE` of its norm."""
    before = [p.clone() for p in segment.params]
    double.run(segment)
    rates = [torch.ones_like(rate) for rate in segment.lr]
    for weight, bias in double.job.groups:
        layer = [weight] if bias is None else [weight, bias]
        size = torch.cat([before[k].flatten(1) for k in layer], 1).norm(dim=1)
        moved = torch.cat([(segment.params[k] - before[k]).flatten(1) for k in layer], 1).norm(dim=1)
        rate = torch.where(torch.isfinite(moved) & (moved > 0), STRIDE * size / moved, 1.0)
        for k in layer:
            rates[k] = rate.reshape(segment.lr[k].shape)
    return rates


def _in_double(segment: Segment) -> Segment:
    def double(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    found = copy.copy(segment)
    found.params, found.lr = [double(p) for p in segment.params], [double(rate) for rate in segment.lr]
    found.state = {slot: [double(s) for s in parts] for slot, parts in segment.state.items()}
    found.x, found.y = double(segment.x), double(segment.y)
    return found
