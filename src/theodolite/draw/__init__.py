"""House style: figures, progress bars, tables."""

from theodolite.draw.progress import progress
from theodolite.draw.style import COLORS, figure, sequence, style

__all__ = ["COLORS", "figure", "progress", "sequence", "style"]
