"""Residual networks against plain ones (§4.3): dense on function fitting, convolutional on digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.core.experiment import Experiment
from theodolite.draw.progress import progress
from theodolite.nets import ConvResNet
from theodolite.theory.rank.experiments.digits import train_tracked
from theodolite.theory.rank.experiments.training import fit
from theodolite.train import MLPSpec, Xavier

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ResnetVsMlp"]


@dataclass(frozen=True)
class ResnetVsMlp(Experiment):
    """§4.3: ε-rank of every layer of residual and plain networks along training.

    Dense: h ← h + σ(W h + b) against h ← σ(W h + b), Xavier initialisation, on a function of one variable. Convolutional: basic blocks
    and bottleneck blocks, with identity and projection shortcuts, against the same blocks without shortcuts, on digits.

    Attributes:
        depth: hidden layers of the dense networks.
        width: neurons per hidden layer of the dense networks.
        target: target function on [−1, 1].
        samples: training points of the dense networks.
        steps: steps of the dense networks (Adam, 1e-3).
        seeds: independent networks per case, dense and convolutional.
        channels: channels of the convolutional blocks; where they grow, the stride is 2 and the shortcut a projection.
        conv_steps: steps of the convolutional networks (Adam, 1e-3, batches of 128).
        eps: threshold ε.
    """

    reference: ClassVar[str] = "he2016"
    small: ClassVar[Mapping[str, Any]] = {"samples": 64, "steps": 480, "conv_steps": 10, "channels": (4, 8)}

    depth: int = 6
    width: int = 50
    target: str = "three_cosines"
    samples: int = 256
    steps: int = 2400
    seeds: int = 5
    channels: tuple[int, ...] = (16, 16, 32)
    conv_steps: int = 600
    eps: float = 1e-3

    def measure(self) -> xr.Dataset:
        """``rank`` and ``relative_rank`` over (net, seed, step, layer), ``loss``; ``conv_rank`` over (conv_net, seed, …)."""
        import xarray as xr

        dense = xr.concat([self._dense(r) for r in (False, True)], "net", combine_attrs="drop_conflicts")
        kinds = [(kind, residual) for kind in ("basic", "bottleneck") for residual in (False, True)]
        convolutional = [self._convolutional(*case) for case in progress(kinds, "convolutional networks")]
        return xr.merge([dense, xr.concat(convolutional, "conv_net", combine_attrs="drop_conflicts")])

    def _dense(self, residual: bool) -> xr.Dataset:
        spec = MLPSpec((1, *[self.width] * self.depth, 1), "tanh", init=Xavier(), residual=residual)
        data = fit(
            spec, target=self.target, samples=self.samples, seeds=self.seeds, steps=self.steps, look_every=60, eps=self.eps
        )
        return data.expand_dims(net=["residual" if residual else "plain"])

    def _convolutional(self, kind: str, residual: bool) -> xr.Dataset:
        import xarray as xr

        def one(seed: int) -> xr.Dataset:
            return train_tracked(
                lambda: ConvResNet(self.channels, kind, residual),
                seed=seed,
                steps=self.conv_steps,
                images=True,
                eps=self.eps,
            )

        runs = [one(seed) for seed in range(self.seeds)]
        # Blocks of both kinds end in an activation; inner activations differ in number, so blocks are compared by their outputs.
        data = xr.concat(runs, "seed").assign_coords(seed=range(self.seeds))
        names = {"rank": "conv_rank", "loss": "conv_loss", "accuracy": "conv_accuracy"}
        data = data[list(names)].rename(names).rename(step="conv_step", layer="conv_layer")
        data = data.assign_coords(conv_layer=range(1, data.sizes["conv_layer"] + 1))
        return data.expand_dims(conv_net=[f"{kind}, {'residual' if residual else 'plain'}"])
