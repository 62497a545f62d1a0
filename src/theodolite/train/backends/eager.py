"""The backend that always works: PyTorch operations on chunks, with a hand-written backward pass for multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.chunks import Layout, chunk_size
from theodolite.train.functional import StackedModule
from theodolite.train.network import Network, Workspace

__all__ = ["AutogradBackend", "EagerBackend"]

#: Elements of a chunk's largest tensor: enough to hide dispatch, small enough for the cache; an accelerator is to be filled.
ELEMENTS, DEVICE_ELEMENTS = 1 << 17, 1 << 22
#: Most members of a chunk of modules.
MODULES = 32


def _layout(job: Job) -> Layout:
    size = chunk_size(job.elements, ELEMENTS if job.device.type == "cpu" else DEVICE_ELEMENTS)
    if not isinstance(job.model, Network):
        # Hidden sizes of a foreign module are not known. Where it cannot be batched, members are treated one by one anyway.
        assert isinstance(job.model, StackedModule)
        stacked = job.model.batched and not job.model.alone
        return Layout(min(size, MODULES), idle=1) if stacked else Layout(MODULES, slotted=False, idle=0)
    if size == 1:
        return Layout(1, slotted=False, idle=0)  # always alone, and so always through the same arithmetic
    # The last elements of an array may be computed by other instructions: they are to belong to idle slots.
    widths = job.model.spec.widths[1:]
    narrow = min(widths[:-1] if job.loss.curvature is not None and len(widths) > 1 else widths)
    return Layout(size, idle=max(1, -(-64 // (job.batch * narrow))))


class EagerBackend(Backend):
    """Stacked analytic gradients, one step after the other.

    Args:
        job: what to train.
    """

    name = "eager"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        assert isinstance(job.model, Network)
        self.network = job.model
        self.layout = _layout(job)
        self.work: dict[tuple[int, int], Workspace] = {}

    @torch.no_grad()
    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        losses = segment.params[0].new_empty(segment.params[0].shape[0], segment.count)
        for k in range(segment.count):
            step = segment.first + k
            losses[:, k] = self.step(segment, step, self.job.optimizer.factors(step + 1))
        return losses

    def _workspace(self, members: int, samples: int, like: Tensor) -> Workspace:
        if (members, samples) not in self.work:
            self.work = {(members, samples): Workspace(self.network.spec, members, samples, like)}
        return self.work[members, samples]

    def step(self, segment: Segment, step: int, factors: Sequence[Any]) -> Tensor:
        """One step in place; the losses before it, (C,)."""
        job, params = self.job, segment.params
        x, y = segment.batch(step)
        work = self._workspace(params[0].shape[0], x.shape[1], params[0])
        seen = self.network.forward(params, x, work)
        gradients = self.network.backward(params, seen, job.loss.gradient(seen.outputs, y), work)
        job.optimizer.update(params, gradients, segment.state, segment.rates(job, seen), factors, job.groups)
        return job.loss.value(seen.outputs, y)


class AutogradBackend(Backend):
    """Plain autograd of the summed member losses: slow, obvious, and what the others are checked against.

    Args:
        job: what to train.
    """

    name = "autograd"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.layout = _layout(job)

    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        job = self.job
        losses = segment.params[0].new_empty(segment.params[0].shape[0], segment.count)
        for k in range(segment.count):
            step = segment.first + k
            x, y = segment.batch(step)
            leaves = [p.detach().requires_grad_() for p in segment.params]
            with torch.enable_grad():
                if isinstance(job.model, StackedModule):
                    outputs = job.model.training(leaves, segment.buffers, x, segment.streams, step)
                else:
                    outputs = job.model.outputs(leaves, x)  # type: ignore[attr-defined]
                value = job.loss.value(outputs, y)
                gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True)
            losses[:, k] = value.detach()
            with torch.no_grad():
                factors = job.optimizer.factors(step + 1)
                job.optimizer.update(segment.params, gradients, segment.state, segment.rates(job, None), factors, job.groups)
        return losses
