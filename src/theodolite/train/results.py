"""What a run has seen: loss curves, looks, who has stopped and why; its checkpoint and its record."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from theodolite.core.errors import StoreError
from theodolite.core.experiment import canonical
from theodolite.core.record import Record, provenance
from theodolite.train.checkpoint import read, write
from theodolite.train.evaluate import evaluate
from theodolite.train.probes import View

if TYPE_CHECKING:
    import xarray as xr

    from theodolite.train.loop import Run

__all__ = ["Results"]

RUNNING, CONVERGED, DIVERGED = "running", "converged", "diverged"


class Results:
    """The growing results of one run.

    Args:
        run: the run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        members = len(run.ensemble)
        self.looks: list[int] = []
        self.seen: dict[str, list[np.ndarray]] = {}
        self.losses = np.full((members, run.steps + 1), np.nan) if run.options.curve else None
        self.status = np.array([RUNNING] * members, dtype=object)
        self.stopped_at = np.full(members, -1)
        self.started = time.perf_counter()

    def curve(self, losses: Tensor) -> None:
        """Keep the losses before each step of the segment that has just ended, and stop who has diverged."""
        values, after = losses.double().cpu().numpy(), self.run.step
        first = after - values.shape[1]
        if self.losses is not None:
            self.losses[:, first:after] = values
        bad = ~np.isfinite(values) | (values > self.run.options.diverge_above)
        for row in self.run.alive:
            if bad[row].any():
                self._stop(row, DIVERGED, first + int(bad[row].argmax()))
        self._compact()

    def _stop(self, row: int, status: str, step: int) -> None:
        self.status[row], self.stopped_at[row] = status, step

    def _compact(self) -> None:
        self.run.alive = [row for row in self.run.alive if self.status[row] == RUNNING]

    @torch.no_grad()
    def look(self, step: int) -> None:
        """Measure everything on the members that are alive; the others keep their last value, or NaN if they diverged."""
        run = self.run
        measured: dict[str, np.ndarray] = {}
        view = self._view(step)
        if view is not None:
            measured["train_loss"] = self._loss(view, run.x, run.y)
            for i, row in enumerate(run.alive):
                value = measured["train_loss"][i]
                if not np.isfinite(value) or value > run.options.diverge_above:
                    self._stop(row, DIVERGED, step)
                elif run.options.target_loss is not None and value <= run.options.target_loss:
                    self._stop(row, CONVERGED, step)
            self._compact()
            if run.test is not None:
                measured["test_loss"] = self._loss(view, *run.test)
            for probe in run.probes:
                measured[probe.name] = probe.measure(view)
        self.looks.append(step)
        names = measured if measured else self.seen
        for name in names:
            self._keep(name, measured.get(name), view)
        if self.losses is not None and view is not None:
            for i, row in enumerate(self._rows):
                self.losses[row, step] = measured["train_loss"][i]

    def _view(self, step: int) -> View | None:
        """A view of the living members, or None if there are none."""
        run, self._rows = self.run, list(self.run.alive)
        if not self._rows:
            return None
        whole = run.ensemble
        targets = run.y if run.options.probe_inputs is None else None
        if len(self._rows) == len(whole):
            return View(whole, step, run.probe_x, targets, run.loss, run.initial)
        index = torch.tensor(self._rows, device=whole.device)
        some = whole.rows(index)
        x = run.probe_x if run.probe_x.shape[0] == 1 else run.probe_x[index]
        if targets is not None and targets.shape[0] > 1:
            targets = targets[index]
        return View(some, step, x, targets, run.loss, {name: value[index] for name, value in run.initial.items()})

    def _loss(self, view: View, x: Tensor, y: Tensor) -> np.ndarray:
        index = torch.tensor(self._rows, device=x.device)
        x, y = (x if x.shape[0] == 1 else x[index]), (y if y.shape[0] == 1 else y[index])
        f = evaluate(view.ensemble.model, view.ensemble.tensors, x)
        return self.run.loss.value(f, y).double().cpu().numpy()

    def _keep(self, name: str, values: np.ndarray | None, view: View | None) -> None:
        history = self.seen.setdefault(name, [])
        members = len(self.run.ensemble)
        if values is not None and len(values) == members:
            history.append(values)
            return
        last = history[-1] if history else None
        shape = (members, *(values.shape[1:] if values is not None else last.shape[1:]))  # type: ignore[union-attr]
        now = np.full(shape, np.nan)
        if last is not None:
            now[:] = last
        if values is not None:
            now[self._rows] = values
        stopped = [r for r in range(members) if self.status[r] == DIVERGED and (values is None or r not in self._rows)]
        now[stopped] = np.nan
        history.append(now)

    @property
    def key(self) -> str:
        """Content hash of everything that determines the run within a backend."""
        run = self.run
        tensors = [run.x, run.y, run.rates, *run.initial.values(), *run.initial_buffers]
        digest = hashlib.blake2b(json.dumps(self._settings(), sort_keys=True).encode(), digest_size=10)
        for tensor in tensors:
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _settings(self) -> dict[str, Any]:
        run = self.run
        spec = run.ensemble.spec
        return canonical(
            {
                "spec": spec.key if spec is not None else type(run.ensemble.model.template).__name__,  # type: ignore[union-attr]
                "members": list(run.ensemble.members),
                "seeds": [list(s) for s in run.ensemble.seeds],
                "dtype": str(run.ensemble.dtype),
                "steps": run.steps,
                "loss": run.loss.name,
                **run.optimizer.settings,
                "batch_size": run.job.batch,
                "schedule": run.schedule.name,
                "probes": [probe.name for probe in run.probes],
                "backend": run.backend.name,
                "target_loss": run.options.target_loss,
                "torch": torch.__version__,
            }
        )

    def checkpoint(self) -> None:
        """Write the whole state of the run to the checkpoint file, atomically."""
        run = self.run
        assert run.options.checkpoint is not None
        content = {
            "key": self.key,
            "step": run.step,
            "alive": run.alive,
            "parameters": {name: value.cpu() for name, value in run.ensemble.parameters.items()},
            "buffers": {name: value.cpu() for name, value in run.ensemble.buffers.items()},
            "state": {slot: [s.cpu() for s in parts] for slot, parts in run.state.items()},
            "looks": self.looks,
            "seen": {name: [torch.from_numpy(np.array(v)) for v in values] for name, values in self.seen.items()},
            "losses": None if self.losses is None else torch.from_numpy(self.losses[:, : run.step + 1].copy()),
            "status": list(self.status),
            "stopped_at": self.stopped_at.tolist(),
        }
        write(run.options.checkpoint, content)

    def resume(self) -> bool:
        """Go on from the checkpoint file, if there is one.

        Raises:
            StoreError: it belongs to another run.
        """
        run = self.run
        if run.options.checkpoint is None or not Path(run.options.checkpoint).exists():
            return False
        content = read(run.options.checkpoint)
        if content["key"] != self.key:
            raise StoreError(
                f"the checkpoint {run.options.checkpoint} belongs to another run (other data, settings, start or backend); "
                "delete it or name another file"
            )
        run.step, run.alive = content["step"], list(content["alive"])
        for name, value in content["parameters"].items():
            run.ensemble.parameters[name].copy_(value)
        for name, value in content["buffers"].items():
            run.ensemble.buffers[name].copy_(value)
        for slot, parts in content["state"].items():
            for whole, part in zip(run.state[slot], parts, strict=True):
                whole.copy_(part)
        self.looks = list(content["looks"])
        self.seen = {name: [v.numpy() for v in values] for name, values in content["seen"].items()}
        if self.losses is not None:
            self.losses[:, : run.step + 1] = content["losses"].numpy()
        self.status, self.stopped_at = np.array(content["status"], dtype=object), np.array(content["stopped_at"])
        return True

    def record(self) -> Record:
        """The run as a record."""
        settings = self._settings() | {"lr": canonical(self.run.rates.cpu().numpy())}
        seconds = time.perf_counter() - self.started
        return Record("train.ensemble", settings, self._dataset(), provenance(seconds=seconds))

    def _dataset(self) -> xr.Dataset:
        import xarray as xr

        run = self.run
        coordinates: dict[str, Any] = {"member": list(run.ensemble.members), "look": self.looks}
        variables: dict[str, Any] = {
            "status": ("member", self.status.astype(str), {"description": "running, converged or diverged"}),
            "stopped_at": ("member", self.stopped_at, {"description": "step at which the member stopped; −1: it did not"}),
        }
        if self.losses is not None:
            about = {"description": f"{run.loss.name} before each step; the last entry is after the last step"}
            variables["loss"] = (("member", "step"), self.losses, about)
            coordinates["step"] = np.arange(run.steps + 1)
        layered = {probe.name: probe for probe in run.probes if probe.layered}
        losses = {
            "train_loss": {"description": f"{run.loss.name} on the training data"},
            "test_loss": {"description": f"{run.loss.name} on the test data"},
        }
        about_probes = {probe.name: dict(probe.about) for probe in run.probes}
        for name, history in self.seen.items():
            values = np.stack(history, 1)
            dims = ["member", "look"]
            if name in layered:
                dims.append("layer")
                coordinates["layer"] = list(run.ensemble.layers[:-1])
            dims += [f"{name}_{axis}" for axis in range(values.ndim - len(dims))]
            variables[name] = (dims, values, losses.get(name) or about_probes[name])
        return xr.Dataset(variables, coordinates)
