"""The staircase beyond function fitting (Remark 3.4): regression and classification on digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from theodolite.core.experiment import Experiment
from theodolite.core.schedule import log_spaced
from theodolite.core.seed import child_seed, generator
from theodolite.data import digits
from theodolite.draw.progress import progress
from theodolite.nets import mlp
from theodolite.train.track import track

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Tasks", "train_tracked"]


def train_tracked(
    make: Callable[[], nn.Module],
    *,
    seed: int,
    steps: int,
    images: bool = False,
    task: str = "classification",
    batch: int = 128,
    probe: int = 256,
    eps: float = 1e-3,
) -> xr.Dataset:
    """Train a module on digits with Adam (1e-3) and track the ε-rank of its layers under the empirical measure.

    ``classification`` is cross-entropy on the ten classes; ``regression`` is the mean squared error to the digit's value, scaled to
    [−1, 1].

    Returns:
        ``rank`` over (step, layer), ``loss`` over (step,) on the probe set, and ``accuracy`` on the test set (for regression: of the
        nearest digit).
    """
    import xarray as xr

    split = digits(1437, images=images)
    with torch.random.fork_rng():
        torch.manual_seed(child_seed(seed, "rank", "digits"))
        model = make()
    y = split.y if task == "classification" else (split.y.float()[:, None] - 4.5) / 4.5
    objective = F.cross_entropy if task == "classification" else F.mse_loss
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = generator(seed, "rank", "batches")
    losses: dict[int, float] = {}
    when = log_spaced(8)

    def note(step: int) -> None:
        model.eval()
        with torch.no_grad():
            losses[step] = float(objective(model(split.x[:probe]), y[:probe]))
        model.train()

    # Output blocks of a residual network are named "blocks.k.relu…"; only the last activation of each block is its output.
    with track(
        model, split.x[:probe], quantities={"rank.epsilon_rank": {"eps": eps, "allow_underdetermined": True}}, when=when
    ) as run:
        note(0)
        for step in range(1, steps + 1):
            index = torch.randint(len(split.x), (batch,), generator=batches)
            loss = objective(model(split.x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if when(step) or step == steps:
                note(step)
            run.step()
    model.eval()
    with torch.no_grad():
        scores = model(split.x_test)
    guess = scores.argmax(1) if task == "classification" else (scores[:, 0] * 4.5 + 4.5).round().long()
    rank = run.data["rank.epsilon_rank"]
    outputs = _block_outputs([str(name) for name in rank.layer.values])
    rank = rank.sel(layer=outputs)
    return xr.Dataset(
        {
            "rank": rank,
            "loss": ("step", [losses[int(s)] for s in rank.step.values], {"description": f"{task} loss on the probe set"}),
            "accuracy": ((), float((guess == split.y_test).float().mean()), {"description": "on the test set"}),
        }
    )


def _block_outputs(names: list[str]) -> list[str]:
    """The last activation of every block, and all activations outside blocks."""
    last: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        block = ".".join(parts[:2]) if parts[0] == "blocks" else name
        last[block] = name
    return list(last.values())


@dataclass(frozen=True)
class Tasks(Experiment):
    """Remark 3.4: the staircase in regression and in classification on digits, with a two-layer network.

    Attributes:
        tasks: of ``regression`` and ``classification``.
        width: neurons in each of two hidden layers.
        activation: their activation.
        steps: steps (Adam, 1e-3, batches of 128).
        seeds: independent networks per task.
        eps: threshold ε.
    """

    reference: ClassVar[str] = "yang2024"
    small: ClassVar[Mapping[str, Any]] = {"steps": 200}

    tasks: tuple[str, ...] = ("regression", "classification")
    width: int = 64
    activation: str = "tanh"
    steps: int = 2000
    seeds: int = 5
    eps: float = 1e-3

    def measure(self) -> xr.Dataset:
        """``rank`` over (task, seed, step, layer); ``loss`` over (task, seed, step); ``accuracy`` over (task, seed)."""
        import xarray as xr

        def one(task: str, seed: int) -> xr.Dataset:
            outputs = 10 if task == "classification" else 1
            widths = [64, self.width, self.width, outputs]
            return train_tracked(lambda: mlp(widths, self.activation), seed=seed, steps=self.steps, task=task, eps=self.eps)

        rows = []
        for task in progress(self.tasks, "tasks on digits"):
            runs = xr.concat([one(task, seed) for seed in range(self.seeds)], "seed").assign_coords(seed=range(self.seeds))
            rows.append(runs.assign_coords(layer=[1, 2]).expand_dims(task=[task]))
        return xr.concat(rows, "task", combine_attrs="drop_conflicts")
