"""A tiny experiment for documentation and first tries."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Parabola"]


@dataclass(frozen=True)
class Parabola:
    """The parabola a x² + b x: its minimum −b² / (4 a), taken at −b / (2 a)."""

    a: float = 1.0
    b: float = 0.0

    def run(self) -> dict[str, float]:
        """Where the minimum is and how deep."""
        return {"minimum": -(self.b**2) / (4 * self.a), "at": -self.b / (2 * self.a)}
