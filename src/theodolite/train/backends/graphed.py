"""The CUDA-graph backend: a block of eager steps recorded once and replayed without launching kernels one by one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.backends.eager import EagerBackend
from theodolite.train.chunks import Layout
from theodolite.train.network import Network

__all__ = ["GraphBackend", "why_not_graphed"]

#: Steps in one recorded graph: most are taken many at a time, what is left before a look one by one.
STEPS = (16, 1)


def why_not_graphed(job: Job) -> str:
    """The reason why a job cannot be recorded as a graph, or an empty string."""
    if job.device.type != "cuda":
        return f"CUDA graphs need an ensemble on a CUDA device, got {job.device}"
    if not isinstance(job.model, Network):
        return "only multilayer perceptrons are recorded"
    if job.batch != job.samples:
        return "a recorded step takes all samples"
    return ""


class GraphBackend(Backend):
    """Eager steps as CUDA graphs on static buffers: the same numbers as the eager backend.

    Args:
        job: what to train.
    """

    name = "cudagraph"
    checked = sum(STEPS)  # every graph

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.layout = Layout(EagerBackend(job).layout.size)
        self.recorded: dict[Any, _Recording] = {}

    @torch.no_grad()
    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        losses = segment.params[0].new_empty(segment.params[0].shape[0], segment.count)
        done = 0
        with torch.cuda.device(self.job.device):
            for steps in STEPS:
                blocks = (segment.count - done) // steps
                if blocks:
                    reached = done + blocks * steps
                    self._recording(segment, steps).run(segment, segment.first + done, losses[:, done:reached])
                    done = reached
        return losses

    def _recording(self, segment: Segment, steps: int) -> _Recording:
        shapes = tuple(tuple(t.shape) for t in (*segment.params, segment.x, segment.y))
        if (shapes, steps) not in self.recorded:
            self.recorded[shapes, steps] = _Recording(self.job, segment, steps)
        return self.recorded[shapes, steps]


class _Recording:
    """A graph of some steps with its static buffers, among them the workspace of an eager backend of its own.

    Args:
        job: what to train.
        segment: networks of the shapes to record.
        steps: how many.
    """

    def __init__(self, job: Job, segment: Segment, steps: int) -> None:
        self.job, self.steps, self.eager = job, steps, EagerBackend(job)
        self.static = copy.copy(segment)
        self.static.params = [p.clone() for p in segment.params]
        self.static.state = {slot: [s.clone() for s in parts] for slot, parts in segment.state.items()}
        self.static.lr = [rate.clone() for rate in segment.lr]
        self.static.x, self.static.y = segment.x.clone(), segment.y.clone()
        self.losses = segment.params[0].new_empty(segment.params[0].shape[0], steps)
        self.factors = segment.params[0].new_empty(steps, len(job.optimizer.factors(1)))
        # Libraries allocate their workspaces at first use, which a recording cannot: one block is run before, on a side stream.
        stream = torch.cuda.Stream(device=job.device)
        stream.wait_stream(torch.cuda.current_stream(job.device))
        with torch.cuda.stream(stream):
            self._block()
        torch.cuda.current_stream(job.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        # other threads may go on allocating meanwhile
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self._block()

    def _block(self) -> None:
        for k in range(self.steps):
            self.losses[:, k] = self.eager.step(self.static, 0, list(self.factors[k]))

    def run(self, segment: Segment, first: int, losses: Tensor) -> None:
        """Steps ``first``, … of a segment in place, as many as there are ``losses`` (C, blocks · steps) to fill."""
        static, count = self.static, losses.shape[1]
        moved = list(zip(static.params, segment.params, strict=True))
        for slot, parts in static.state.items():
            moved += zip(parts, segment.state[slot], strict=True)
        given = [*zip(static.lr, segment.lr, strict=True), (static.x, segment.x), (static.y, segment.y)]
        for buffer, value in (*moved, *given):
            buffer.copy_(value)
        factors = [self.job.optimizer.factors(step) for step in range(first + 1, first + count + 1)]
        blocks = self.factors.new_tensor(factors).reshape(-1, *self.factors.shape) if factors[0] else None
        for block in range(count // self.steps):
            if blocks is not None:
                self.factors.copy_(blocks[block])
            self.graph.replay()
            losses[:, block * self.steps : (block + 1) * self.steps] = self.losses
        for buffer, value in moved:
            value.copy_(buffer)
