"""Exact attributions of digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.draw.style import COLORS, MUTED, figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["local_linear_models"]


def local_linear_models(record: Record, images: int = 6) -> Figure:
    """Images with the contribution of every pixel to the predicted logit, and how far each region reaches.

    Args:
        record: of the experiment.
        images: how many images to show.
    """
    data = record.data
    images = min(images, data.sizes["sample"])
    with style():
        drawn, axes = figure(2, images + 2, width=1.45, height=1.6, squeeze=False)
        for k in range(images):
            one = data.isel(sample=k)
            span = float(np.abs(one["contribution"]).max())
            axes[0, k].imshow(one["image"], cmap="Greys")
            axes[1, k].imshow(one["contribution"], cmap="RdBu_r", vmin=-span, vmax=span)
            axes[0, k].set_title(f"{int(one['label'])} → {int(one['logits'].values.argmax())}", fontsize=9, loc="center")
            for ax in axes[:, k]:
                ax.set_xticks([])
                ax.set_yticks([])
                ax.grid(False)
        axes[0, 0].set_ylabel("image")
        axes[1, 0].set_ylabel("weight × pixel")
        grid = axes[0, 0].get_gridspec()
        for ax in axes[:, images:].ravel():
            ax.remove()
        hist = drawn.add_subplot(grid[:, images:])
        hist.hist(np.log10(data["distance"].values), bins=20, color=COLORS[0])
        hist.axvline(np.log10(np.median(data["distance"].values)), color=MUTED, linestyle="--")
        hist.set_xlabel("log₁₀ distance to the region's boundary")
        hist.set_title(f"{int(data['visited'])} regions for {data.attrs['train']} images", fontsize=9)
    return drawn
