"""The numba backend: fused kernels for two-layer networks with one output."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from theodolite.train.backends.base import Backend, Job, Segment
from theodolite.train.chunks import Layout
from theodolite.train.kernels.plan import LANES, Plan
from theodolite.train.network import Network
from theodolite.train.optimizers import GD, SGD, Adam, Optimizer, TraceGD

__all__ = ["FusedBackend", "why_not_fused"]

#: Up to this many samples, and this many products of samples and inputs, are unrolled into the kernel over neurons.
FEW_SAMPLES, FEW_PRODUCTS = 16, 48
#: More inputs than this make a dense product faster.
MOST_INPUTS = 32

_ACTIVATIONS = ("relu", "tanh", "sigmoid", "xtanh", "x2tanh", "erf", "sin")
_LOSSES = ("mse", "half_mse", "logistic", "exponential")


def why_not_fused(job: Job) -> str:
    """The reason why the fused kernels cannot do a job, or an empty string."""
    if not isinstance(job.model, Network) or job.model.spec.depth != 2 or job.model.spec.widths[2] != 1:
        return "fused kernels are for two-layer networks with one output"
    if job.device.type != "cpu":
        return "fused kernels run on the CPU"
    if job.model.activation.name not in _ACTIVATIONS or job.model.activation.slope is None:
        return f"fused kernels know the activations {', '.join(_ACTIVATIONS)}"
    if type(job.optimizer) not in (SGD, GD, TraceGD, Adam):
        return "fused kernels know GD, SGD (with momentum), TraceGD and Adam"
    if job.loss.name not in _LOSSES:
        return f"fused kernels know the losses {', '.join(_LOSSES)}"
    if job.batch != job.samples:
        return "fused kernels take all samples at every step"
    if job.model.spec.widths[0] > MOST_INPUTS:
        return f"fused kernels take at most {MOST_INPUTS} inputs"
    return ""


class FusedBackend(Backend):
    """One compiled sweep per step, network by network; independent of the number of members by construction.

    Args:
        job: what to train.
    """

    name = "numba"
    layout = Layout(256, slotted=False, idle=0)

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        assert isinstance(job.model, Network)
        self.network, spec = job.model, job.model.spec
        d = spec.widths[0]
        few = job.samples <= FEW_SAMPLES and job.samples * d <= FEW_PRODUCTS
        self.plan = Plan(
            samples=job.samples if few else 0,
            inputs=d,
            bias=spec.biases[0],
            output_bias=spec.biases[1],
            activation=self.network.activation.name,
            rule=_rule(job.optimizer),
            loss=job.loss.name,
            single=job.dtype == torch.float32,
        )
        self.real = np.float32 if self.plan.single else np.float64
        self.slot_names = {0: (), 1: ("velocity",), 2: ("first", "second")}[self.plan.slots]

    def run(self, segment: Segment) -> Tensor:
        """Take the segment's steps in place; losses before each step, (C, count)."""
        from theodolite.train.kernels.build import build

        members, width = segment.params[0].shape[:2]
        packed = self._pack(segment, members, width)
        losses = np.empty((members, segment.count), self.real)
        bias, moments = self._output_bias(segment, members)
        (c, cb), (ca, cc) = self.network.scales
        x = segment.x.numpy() * self.real(c) if c != 1 else segment.x.numpy()
        rates = np.stack([segment.lr[at].reshape(-1).numpy() for at, _ in self.job.groups], 1)
        optimizer = self.job.optimizer
        corrections = np.ones((segment.count, 2), self.real)
        if isinstance(optimizer, Adam):
            corrections[:] = [optimizer.factors(segment.first + k + 1) for k in range(segment.count)]
        arguments = (
            packed, np.ascontiguousarray(x), np.ascontiguousarray(segment.y[..., 0].numpy()), np.ascontiguousarray(rates), bias,
            moments, np.array([cb, ca, cc, 1 / self.job.samples], self.real), self._settings(), corrections, losses,
        )  # fmt: skip
        build(self.plan)(*arguments)
        self._unpack(segment, packed, width)
        if self.plan.output_bias:
            position = self.job.groups[1][1]
            assert position is not None
            segment.params[position][:, 0] = torch.from_numpy(bias)
            for slot, values in zip(self.slot_names, moments, strict=False):
                segment.state[slot][position][:, 0] = torch.from_numpy(values)
        return torch.from_numpy(losses)

    def _settings(self) -> np.ndarray:
        optimizer = self.job.optimizer
        if isinstance(optimizer, Adam):
            # A smallest normal number instead of eps = 0 keeps lanes without gradient at rest; it changes no other lane's rounding.
            return np.array([*optimizer.betas, max(optimizer.eps, np.finfo(self.real).tiny)], self.real)
        assert isinstance(optimizer, SGD)
        return np.array([optimizer.momentum, 0, 0], self.real)

    def _rows(self, segment: Segment) -> list[Tensor]:
        """All numbers of a neuron, one (C, m) tensor each: parameters, then moments; views that write through."""
        rows: list[Tensor] = []
        for source in (segment.params, *(segment.state[slot] for slot in self.slot_names)):
            weight, bias = self.job.groups[0]
            rows += [source[weight][:, :, j] for j in range(self.plan.inputs)]
            if bias is not None:
                rows.append(source[bias])
            rows.append(source[self.job.groups[1][0]][:, 0, :])
        return rows

    def _pack(self, segment: Segment, members: int, width: int) -> np.ndarray:
        rows = self._rows(segment)
        if not self.plan.samples:
            return np.stack([row.numpy() for row in rows], 2)
        count, tiles = len(self.plan.parameters), -(-width // LANES)
        padded = np.zeros((members, tiles, self.plan.rows, LANES), self.real)
        for k, row in enumerate(rows):
            place = k if k < count else k + self.plan.masked
            padded[:, :, place] = _tiled(row.numpy(), tiles)
        if self.plan.masked:
            padded[:, :, count] = _tiled(np.ones((members, width), self.real), tiles)
        return padded.reshape(members, tiles, -1)

    def _unpack(self, segment: Segment, packed: np.ndarray, width: int) -> None:
        rows = self._rows(segment)
        if not self.plan.samples:
            for k, row in enumerate(rows):
                row.copy_(torch.from_numpy(packed[:, :, k]))
            return
        count = len(self.plan.parameters)
        tiles = packed.reshape(packed.shape[0], packed.shape[1], -1, LANES)
        for k, row in enumerate(rows):
            place = k if k < count else k + self.plan.masked
            flat = np.ascontiguousarray(tiles[:, :, place]).reshape(packed.shape[0], -1)
            row.copy_(torch.from_numpy(flat[:, :width]))

    def _output_bias(self, segment: Segment, members: int) -> tuple[np.ndarray, np.ndarray]:
        moments = np.zeros((2, members), self.real)
        position = self.job.groups[1][1]
        if position is None:
            return np.zeros(members, self.real), moments
        for k, slot in enumerate(self.slot_names):
            moments[k] = segment.state[slot][position][:, 0].numpy()
        return segment.params[position][:, 0].numpy().copy(), moments


def _rule(optimizer: Optimizer) -> str:
    if isinstance(optimizer, Adam):
        return "adam"
    if isinstance(optimizer, TraceGD):
        return "trace"
    assert isinstance(optimizer, SGD)
    return "nesterov" if optimizer.nesterov else "momentum" if optimizer.momentum else "sgd"


def _tiled(values: Any, tiles: int) -> np.ndarray:
    """(C, m) as (C, tiles, lanes), zeros at the end."""
    padded = np.zeros((values.shape[0], tiles * LANES), values.dtype)
    padded[:, : values.shape[1]] = values
    return padded.reshape(values.shape[0], tiles, LANES)
