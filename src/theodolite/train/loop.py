"""The training run: segments between looks, with divergence, convergence, compaction and checkpoints at their ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from theodolite.core.arrays import check_finite
from theodolite.core.errors import ArgumentError
from theodolite.core.schedule import as_schedule, log_spaced
from theodolite.core.seed import generator
from theodolite.train.backends.base import Job, Segment
from theodolite.train.backends.choose import choose_backend
from theodolite.train.chunks import Chunk, make_chunks
from theodolite.train.losses import find_loss
from theodolite.train.optimizers import GD, NormalizedGD, TraceGD, find_optimizer
from theodolite.train.options import Options
from theodolite.train.probes import find_probes
from theodolite.train.results import Results

if TYPE_CHECKING:
    from theodolite.core.record import Record
    from theodolite.train.ensemble import Ensemble

__all__ = ["Run", "Task", "prepare_inputs"]

#: Longest stretch without a check for divergence or the clock.
LONGEST = 4096


def prepare_inputs(ensemble: Ensemble, x: Any) -> Tensor:
    """Inputs as (1 or E, N, …) in the ensemble's dtype and on its device.

    Raises:
        ArgumentError: wrong shape or non-finite entries.
    """
    tensor = torch.as_tensor(x)
    if ensemble.spec is None:
        tensor = tensor.to(ensemble.device)
        return (tensor.to(ensemble.dtype) if tensor.is_floating_point() else tensor)[None]
    tensor = tensor.to(ensemble.device, ensemble.dtype)
    d, members, given = ensemble.spec.widths[0], len(ensemble), tuple(tensor.shape)
    if tensor.ndim == 1 and d == 1:
        tensor = tensor[:, None]
    if tensor.ndim == 2:
        tensor = tensor[None]
    if tensor.ndim != 3 or tensor.shape[2] != d or tensor.shape[0] not in (1, members) or tensor.shape[1] < 1:
        raise ArgumentError(f"x must have shape (N, {d}) or ({members}, N, {d}), got {given}")
    check_finite(tensor, "x")
    return tensor


@dataclass(frozen=True)
class Task:
    """What a run is to do.

    Attributes:
        x: inputs.
        y: targets.
        steps: optimiser steps.
        loss: name or loss.
        optimizer: name or optimiser.
        lr: learning rate: a number, [E] or [E, L].
        schedule: when to look; None: log-spaced.
        probes: what to measure at looks.
    """

    x: Any
    y: Any
    steps: int
    loss: Any = "mse"
    optimizer: Any = "sgd"
    lr: Any = 1e-2
    schedule: Any = None
    probes: Any = ()


def _whole(steps: Any) -> int:
    number = int(steps) if isinstance(steps, (int, float, np.number)) and np.isfinite(steps) else -1
    if number != steps or number < 0:
        raise ArgumentError(f"steps must be a whole number ≥ 0, got {steps!r}")
    return number


class Run:
    """One call of `Ensemble.train`.

    Args:
        ensemble: what is trained.
        task: what is to be done.
        options: everything else.
    """

    def __init__(self, ensemble: Ensemble, task: Task, options: Options) -> None:
        self.ensemble, self.steps, self.options = ensemble, _whole(task.steps), options
        self.loss, self.optimizer = find_loss(task.loss), find_optimizer(task.optimizer)
        self.schedule = log_spaced(10) if task.schedule is None else as_schedule(task.schedule)
        self.probes = find_probes(task.probes)
        self.x = prepare_inputs(ensemble, task.x)
        self.params, self.buffers = list(ensemble.parameters.values()), list(ensemble.buffers.values())
        self.y = self._targets(self.x, task.y)
        self.test = None
        if options.test is not None:
            points = prepare_inputs(ensemble, options.test[0])
            self.test = points, self._targets(points, options.test[1])
        self.probe_x = self.x if options.probe_inputs is None else prepare_inputs(ensemble, options.probe_inputs)
        self.groups = getattr(ensemble.model, "groups", ())
        self.rates, self.lr = self._rates(task.lr)
        self.job = self._job()
        self.state = self.optimizer.start(self.params, self.groups)
        self.initial = {name: value.clone() for name, value in ensemble.parameters.items()}
        self.initial_buffers = [value.clone() for value in self.buffers]
        self.backend = choose_backend(self.job, options.backend, options.check, self._sample)
        self.step = 0
        self.alive = list(range(len(ensemble)))
        self.results = Results(self)

    def _targets(self, x: Tensor, y: Any) -> Tensor:
        targets = torch.as_tensor(y).to(self.ensemble.device)
        with torch.no_grad():
            few = x[:1, : 2 if self.ensemble.model.couples else 1]
            outputs = self.ensemble.model.outputs([p[:1] for p in self.ensemble.tensors], few).shape[-1]
        return self.loss.prepare(targets, x.shape[1], outputs, len(self.ensemble), self.ensemble.dtype)

    def _rates(self, lr: Any) -> tuple[Tensor, list[Tensor]]:
        """Learning rates (E, L or 1) and one broadcastable tensor per parameter."""
        members, layers = len(self.ensemble), max(1, len(self.groups))
        rates = torch.as_tensor(lr, dtype=torch.float64).cpu()
        if rates.ndim == 0:
            rates = rates.expand(members)
        if rates.ndim == 1:
            rates = rates[:, None].expand(-1, layers)
        if rates.shape != (members, layers) or not bool((torch.isfinite(rates) & (rates >= 0)).all()):
            raise ArgumentError(f"lr must be a number ≥ 0, [{members}] or [{members}, {layers}] of them, got {lr!r}")
        rates = rates.to(self.ensemble.device, self.ensemble.dtype).contiguous()
        layer_of = [0] * len(self.params)
        for k, (weight, bias) in enumerate(self.groups):
            layer_of[weight] = k
            if bias is not None:
                layer_of[bias] = k
        shaped = [rates[:, k].reshape(members, *[1] * (p.ndim - 1)) for p, k in zip(self.params, layer_of, strict=True)]
        return rates, shaped

    def _job(self) -> Job:
        samples, batch = self.x.shape[1], self.options.batch_size or self.x.shape[1]
        if batch > samples:
            raise ArgumentError(f"batch_size must not exceed the number of samples, {samples}, got {batch}")
        if batch < samples and isinstance(self.optimizer, GD):
            raise ArgumentError("gradient descent takes all samples at every step; use optimizer='sgd' with batch_size")
        if not self.groups and isinstance(self.optimizer, (NormalizedGD, TraceGD)):
            raise ArgumentError("this optimiser needs the layers of an MLPSpec; it cannot train an ensemble made from a module")
        if isinstance(self.optimizer, TraceGD) and self.loss.curvature is None:
            raise ArgumentError(f"TraceGD is for the quadratic losses 'mse' and 'half_mse', got {self.loss.name!r}")
        model = self.ensemble.model
        return Job(
            model, self.loss, self.optimizer, self.groups, samples, batch, model.elements(batch), self.ensemble.dtype,
            self.ensemble.device, self.steps,
        )  # fmt: skip

    def record(self) -> Record:
        """Carry the run out."""
        looks = self.schedule.looks(self.steps)
        saved = time.monotonic()
        resumed = self.results.resume()
        if not resumed:
            self.results.look(0)
        for target in self._progress([look for look in looks if look > self.step]):
            while self.step < target:
                self.results.curve(self._segment(min(target - self.step, LONGEST)))
                if self.step == target:
                    self.results.look(target)
                if self.options.checkpoint is not None and time.monotonic() - saved >= self.options.checkpoint_seconds:
                    self.results.checkpoint()
                    saved = time.monotonic()
        if self.options.checkpoint is not None:
            self.results.checkpoint()
        return self.results.record()

    def _progress(self, looks: list[int]) -> Any:
        if not self.options.progress:
            return looks
        from theodolite.draw.progress import progress

        return progress(looks, "training")

    def _segment(self, count: int) -> Tensor:
        """Carry all living members through ``count`` steps; their losses before each step, (E, count), NaN for the others."""
        losses = torch.full((len(self.ensemble), count), float("nan"), dtype=self.ensemble.dtype, device=self.ensemble.device)
        for chunk in make_chunks(self.ensemble.members, self.alive, self.backend.layout, self.ensemble.device):
            segment = self._gather(chunk, count)
            chunk.scatter(self.backend.run(segment), losses)
            for part, whole in zip((*segment.params, *segment.buffers), (*self.params, *self.buffers), strict=True):
                chunk.scatter(part, whole)
            for slot, parts in segment.state.items():
                for part, whole in zip(parts, self.state[slot], strict=True):
                    chunk.scatter(part, whole)
        self.step += count
        return losses

    def _gather(self, chunk: Chunk, count: int) -> Segment:
        streams = [self.ensemble.seeds[row] for row in chunk.source.tolist()]
        return Segment(
            [chunk.gather(p) for p in self.params],
            {slot: [chunk.gather(s) for s in parts] for slot, parts in self.state.items()},
            [chunk.gather(rate) for rate in self.lr],
            self.x if self.x.shape[0] == 1 else chunk.gather(self.x),
            self.y if self.y.shape[0] == 1 else chunk.gather(self.y),
            self.step,
            count,
            self._batches(streams),
            [chunk.gather(b) for b in self.buffers],
            streams,
        )

    def _batches(self, streams: Sequence[tuple[int, int]]) -> Callable[[int], Tensor] | None:
        """Step -> sample numbers (C, B): every member walks through permutations of its own, drawn anew each epoch."""
        samples, size = self.job.samples, self.job.batch
        if size == samples:
            return None
        per_epoch = samples // size
        drawn: dict[int, Tensor] = {}

        def batch(step: int) -> Tensor:
            epoch, position = divmod(step, per_epoch)
            if epoch not in drawn:
                drawn.clear()
                orders = [torch.randperm(samples, generator=generator(s, "batches", m, epoch)) for s, m in streams]
                drawn[epoch] = torch.stack(orders).to(self.ensemble.device)
            return drawn[epoch][:, position * size : (position + 1) * size]

        return batch

    def _sample(self, count: int, slots: int) -> Segment:
        """First steps of networks in general position on one member's data: for checks whose outcome must not depend on members."""

        def one(data: Tensor) -> Tensor:
            return data if data.shape[0] == 1 else data[:1].expand(slots, *data.shape[1:]).contiguous()

        params = self.ensemble.model.specimens(self.params, slots)
        lr = [torch.ones_like(rate[:1]).expand(slots, *rate.shape[1:]).contiguous() for rate in self.lr]
        state = self.optimizer.start(params, self.groups)
        buffers = [b[:1].expand(slots, *b.shape[1:]).contiguous() for b in self.buffers]
        streams = [(0, 0)] * slots
        return Segment(params, state, lr, one(self.x), one(self.y), 0, count, self._batches(streams), buffers, streams)
