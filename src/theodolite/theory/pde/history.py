"""What a training run leaves behind, as a labelled dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["History"]


class History:
    """Collects looks at a training run and returns them as a dataset.

    Args:
        single: whether one network is looked at, so that there is no axis ``network``.
        terms: names of the terms of the loss.
    """

    def __init__(self, single: bool, terms: list[str]) -> None:
        self.single, self.terms = single, terms
        self.looks: list[dict[str, Any]] = []

    def add(self, *, step: int, phase: str, losses: Any, loss: Any, error: list[float], ranks: Any) -> None:
        """Keep one look: losses (…, terms), total loss (…), errors and layer -> rank of each network."""
        ranks = [ranks] if self.single else ranks
        self.looks.append(
            {
                "step": step,
                "phase": phase,
                "losses": np.asarray(losses).reshape(len(ranks), -1),
                "loss": np.asarray(loss).reshape(len(ranks)),
                "error": np.asarray(error, dtype=np.float64),
                "ranks": np.array([list(r.values()) for r in ranks]),
                "layers": list(ranks[0]),
            }
        )

    def dataset(self) -> xr.Dataset:
        """All looks: ``loss``, ``losses``, ``error``, ``epsilon_rank``, ``phase`` over ``step``."""
        import xarray as xr

        def joined(name: str) -> np.ndarray:
            return np.stack([look[name] for look in self.looks])

        data: dict[str, Any] = {
            "loss": (("step", "network"), joined("loss"), {"description": "weighted sum of the terms"}),
            "losses": (("step", "network", "term"), joined("losses"), {"description": "mean squares, unweighted"}),
            "epsilon_rank": (("step", "network", "layer"), joined("ranks"), {"description": "ε-rank in L²(dx)"}),
            "phase": (("step",), [look["phase"] for look in self.looks], {"description": "optimiser"}),
        }
        if self.looks[0]["error"].size:
            data["error"] = (("step", "network"), joined("error"), {"description": "relative L² error"})
        found = xr.Dataset(
            data,
            coords={"step": [look["step"] for look in self.looks], "term": self.terms, "layer": self.looks[0]["layers"]},
        )
        return found.isel(network=0) if self.single else found.transpose("network", "step", ...)
