"""The order in which a gallery lists its scripts."""

from __future__ import annotations

__all__ = ["ReadingOrder"]

#: Tutorials, the first first; whatever else there is follows by name.
TUTORIALS = (
    "first_diagnosis",
    "critical_initialisation",
    "prune_with_certificate",
    "explain_one_image",
    "phase_diagram_slurm",
)


class ReadingOrder:
    """Sort key of the scripts of one folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, filename: str) -> tuple[int, str]:
        """Place of a script."""
        name = filename.removesuffix(".py")
        return (TUTORIALS.index(name) if name in TUTORIALS else len(TUTORIALS)), name
