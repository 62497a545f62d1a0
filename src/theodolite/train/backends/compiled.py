"""The compiled backend: `torch.compile` of one whole step on static chunks of about 1 MB. For long runs only."""

from __future__ import annotations

import shutil
from typing import Any

import torch
from torch import Tensor

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.chunks import Layout, chunk_size
from theodolite.train.network import Network

__all__ = ["CompiledBackend", "why_not_compiled"]

#: Bytes of a chunk's largest tensor.
BYTES = 1 << 20


def why_not_compiled(job: Job) -> str:
    """The reason why a job cannot be compiled, or an empty string."""
    if not isinstance(job.model, Network):
        return "only multilayer perceptrons are compiled"
    if job.batch != job.samples:
        return "the compiled step takes all samples"
    if job.device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        return "torch.compile needs a C++ compiler, and neither g++ nor clang++ is on the path"
    return ""


class CompiledBackend(Backend):
    """One compiled step, called once per step on chunks of one shape, so that it is compiled once.

    Numbers that change with the step are tensors: a Python number would be compiled in.

    Args:
        job: what to train.
    """

    name = "compile"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.layout = Layout(chunk_size(job.elements, BYTES * 8 // torch.finfo(job.dtype).bits))
        self.step: Any = torch.compile(self._step, fullgraph=True, dynamic=False)

    def _step(
        self, params: list[Tensor], state: dict[str, list[Tensor]], lr: list[Tensor], x: Tensor, y: Tensor, factors: list[Tensor]
    ):
        job, network = self.job, self.job.model
        assert isinstance(network, Network)
        segment = Segment(params, state, lr, x, y, 0, 1)
        seen = network.forward(params, x)
        loss = job.loss.value(seen.outputs, y)
        gradients = network.backward(params, seen, job.loss.gradient(seen.outputs, y))
        job.optimizer.update(params, gradients, state, segment.rates(job, seen), factors, job.groups)
        return loss

    @torch.no_grad()
    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        params = segment.params
        losses = params[0].new_empty(params[0].shape[0], segment.count)
        for k in range(segment.count):
            factors = self.job.optimizer.factors(segment.first + k + 1)
            tensors = [torch.tensor(f, dtype=self.job.dtype, device=self.job.device) for f in factors]
            losses[:, k] = self.step(params, segment.state, segment.lr, segment.x, segment.y, tensors)
        return losses
