"""Spectra of the input–output Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw import COLORS, figure, style

if TYPE_CHECKING:
    from theodolite.core.record import Record

__all__ = ["jacobian_spectrum"]


def jacobian_spectrum(record: Record) -> Any:
    """Histograms of singular values of the widest networks under the theory's density; rows are depths, columns nets."""
    data = record.data
    with style():
        drawn, axes = figure(data.sizes["depth"], data.sizes["net"], width=2.8, height=2.5, squeeze=False)
        for column, net in enumerate(data.net.values):
            for row, depth in enumerate(data.depth.values):
                axis, right = axes[row, column], 0.0
                for color, kind in zip(COLORS, data.weights.values, strict=False):
                    one = data.sel(net=net, depth=depth, weights=kind).isel(width=-1)
                    seen = np.sqrt(one["eigenvalues"].values.ravel())
                    seen = seen[np.isfinite(seen) & (seen > 1e-6)]
                    right = max(right, float(np.quantile(seen, 0.97)))  # the tail of deep Gaussian networks is long and thin
                    share = len(seen) / np.isfinite(one["eigenvalues"].values).sum()
                    counts, edges = np.histogram(seen, bins=40, range=(0.0, 1.05 * float(seen.max())), density=True)
                    axis.stairs(counts * share, edges, fill=True, alpha=0.25, color=color)
                    # density of s = √λ: 2 s ρ(s²)
                    s = np.sqrt(one["lam"])
                    axis.plot(s, 2 * s * one["density"], color=color, label=str(kind))
                axis.set_title(f"{net}, L = {depth}", fontsize=9)
                axis.set_ylim(0, 2.5)
                axis.set_xlim(0.0, 1.1 * right)
                if row == data.sizes["depth"] - 1:
                    axis.set_xlabel("singular value s")
                if column == 0:
                    axis.set_ylabel("density")
        axes[0, 0].legend(fontsize=8)
    return drawn
