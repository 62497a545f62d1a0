"""Local linear models: what a network computes in the region of an image, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from torch import nn

from theodolite.core.experiment import Experiment
from theodolite.data.digits import digits
from theodolite.draw.progress import progress
from theodolite.theory.piecewise.experiments.fitting import fit
from theodolite.theory.piecewise.experiments.networks import random_chain
from theodolite.theory.piecewise.local import local_region, sample_regions

__all__ = ["LocalLinearModels"]


@dataclass(frozen=True)
class LocalLinearModels(Experiment):
    """A network on handwritten digits: in the region of an image its logits are A x + b, so that attributions are exact.

    Attributes:
        hidden: widths of the hidden layers.
        train: number of training images.
        steps: steps of Adam on the full batch.
        learning_rate: of Adam.
        images: number of test images to look at.
        seed: of the network and the split.
    """

    hidden: tuple[int, ...] = (64, 64)
    train: int = 1437
    steps: int = 300
    learning_rate: float = 3e-3
    images: int = 200
    seed: int = 0

    reference: ClassVar[str] = "sudjianto2020"
    small: ClassVar[Mapping[str, Any]] = {"hidden": (16, 16), "train": 400, "steps": 100, "images": 20}

    def measure(self) -> xr.Dataset:
        """Train, then take the region of every image."""
        split = digits(self.train, self.seed, dtype=torch.float64)
        model = random_chain((64, *self.hidden, 10), self.seed, bias_std=0.0)
        fit(model, split.x, split.y, nn.functional.cross_entropy, steps=self.steps, learning_rate=self.learning_rate)
        x = split.x_test[: self.images]
        with torch.no_grad():
            logits = model(x).numpy()
        weight, contribution, gap, distance, facets = [], [], [], [], []
        for k in progress(range(len(x)), "taking regions"):
            here = local_region(model, x[k])
            slopes, constant = here.affine
            predicted = int(logits[k].argmax())
            weight.append(slopes[predicted].reshape(8, 8))
            contribution.append(slopes[predicted].reshape(8, 8) * x[k].numpy().reshape(8, 8))
            gap.append(np.abs(slopes @ x[k].numpy() + constant - logits[k]).max())
            distance.append(here.distance)
            facets.append(len(here.halfspaces[1]))
        seen = sample_regions(model, split.x)
        return xr.Dataset(
            {
                "image": (("sample", "row", "column"), x.numpy().reshape(-1, 8, 8)),
                "label": ("sample", split.y_test[: self.images].numpy()),
                "logits": (("sample", "label_index"), logits),
                "weight": (("sample", "row", "column"), np.stack(weight), {"description": "gradient of the predicted logit"}),
                "contribution": (
                    ("sample", "row", "column"),
                    np.stack(contribution),
                    {"description": "weight × pixel; adds up to the logit with the constant"},
                ),
                "gap": ("sample", gap, {"description": "|A x + b − network(x)|"}),
                "distance": ("sample", distance, {"description": "Euclidean distance to the region's boundary"}),
                "halfspaces": ("sample", facets, {"description": "switches that are not constant in the region"}),
                "accuracy": ((), float((logits.argmax(1) == split.y_test[: self.images].numpy()).mean())),
                "visited": ((), seen.count, {"description": "regions visited by the training images: a lower bound"}),
            },
            attrs={"train": self.train},
        )
