"""The CUDA-graph backend: a block of eager steps recorded once and replayed without launching kernels one by one."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.backends.eager import EagerBackend
from theodolite.train.chunks import Layout
from theodolite.train.network import Network

__all__ = ["GraphBackend", "why_not_graphed"]

#: Steps in one recorded graph.
STEPS = 16


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
    """Eager steps as a CUDA graph on static buffers: the same numbers as the eager backend.

    Args:
        job: what to train.
    """

    name = "cudagraph"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.eager = EagerBackend(job)
        self.layout = Layout(self.eager.layout.size)
        self.recorded: dict[tuple[tuple[int, ...], ...], _Recording] = {}

    @torch.no_grad()
    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        blocks = segment.count // STEPS
        losses = segment.params[0].new_empty(segment.params[0].shape[0], segment.count)
        if blocks:
            shape = tuple(tuple(t.shape) for t in (*segment.params, segment.x, segment.y))
            if shape not in self.recorded:
                self.recorded[shape] = _Recording(self.job, self.eager, segment)
            self.recorded[shape].run(segment, blocks, losses)
        if segment.count % STEPS:
            rest = copy.copy(segment)
            rest.first, rest.count = segment.first + blocks * STEPS, segment.count % STEPS
            losses[:, blocks * STEPS :] = self.eager.run(rest)
        return losses


class _Recording:
    """A graph of `STEPS` steps with its static buffers."""

    def __init__(self, job: Job, eager: EagerBackend, segment: Segment) -> None:
        self.job = job
        self.static = copy.copy(segment)
        self.static.params = [p.clone() for p in segment.params]
        self.static.state = {slot: [s.clone() for s in parts] for slot, parts in segment.state.items()}
        self.static.lr = [rate.clone() for rate in segment.lr]
        self.static.x, self.static.y = segment.x.clone(), segment.y.clone()
        self.losses = segment.params[0].new_empty(segment.params[0].shape[0], STEPS)
        self.factors = segment.params[0].new_empty(STEPS, len(job.optimizer.factors(1)))
        # Libraries allocate their workspaces at first use, which a recording cannot: one block is run before, on a side stream.
        stream = torch.cuda.Stream(device=job.device)
        stream.wait_stream(torch.cuda.current_stream(job.device))
        with torch.cuda.stream(stream):
            self._block(eager)
        torch.cuda.current_stream(job.device).wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._block(eager)

    def _block(self, eager: EagerBackend) -> None:
        for k in range(STEPS):
            self.losses[:, k] = eager.step(self.static, 0, list(self.factors[k]))

    def run(self, segment: Segment, blocks: int, losses: Tensor) -> None:
        static = self.static
        pairs = [*zip(static.params, segment.params, strict=True), *zip(static.lr, segment.lr, strict=True)]
        moved = list(zip(static.params, segment.params, strict=True))
        for slot, parts in static.state.items():
            moved += zip(parts, segment.state[slot], strict=True)
            pairs += zip(parts, segment.state[slot], strict=True)
        for buffer, value in [*pairs, (static.x, segment.x), (static.y, segment.y)]:
            buffer.copy_(value)
        first = segment.first
        steps = range(first + 1, first + blocks * STEPS + 1)
        factors = self.factors.new_tensor([self.job.optimizer.factors(s) for s in steps]).reshape(blocks, *self.factors.shape)
        for block in range(blocks):
            self.factors.copy_(factors[block])
            self.graph.replay()
            losses[:, block * STEPS : (block + 1) * STEPS] = self.losses
        for buffer, value in moved:
            value.copy_(buffer)
