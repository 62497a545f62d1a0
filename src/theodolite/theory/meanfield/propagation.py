"""The result of a theory pass: rows that put what a network shows beside what theory predicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Propagation", "PropagationRow"]


@dataclass(frozen=True)
class PropagationRow:
    """One quantity at one layer.

    Attributes:
        layer: name of the node.
        quantity: ``q_length``, ``correlation`` or ``chi_1``.
        measured: what the network shows.
        predicted: infinite-width theory.
        predicted_sd: standard deviation over initialisations that finite width makes one expect; NaN where it is not known.
        z: (measured − predicted) / predicted_sd.
        verdict: ``as predicted``, ``off``, or for χ₁ the phase.
        advice: what to do, or how the prediction came about.
    """

    layer: str
    quantity: str
    measured: float
    predicted: float
    predicted_sd: float
    z: float
    verdict: str
    advice: str = ""


@dataclass(frozen=True)
class Propagation:
    """Rows of a theory pass; iterable, printable.

    Attributes:
        rows: in order of the layers.
        flags: (node, reason) of operations whose result was sampled by Monte Carlo or taken from the network itself.
    """

    rows: tuple[PropagationRow, ...]
    flags: tuple[tuple[str, str], ...] = ()

    def __iter__(self) -> Iterator[PropagationRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        wide = max([22, *(len(r.layer) + 2 for r in self.rows)])
        lines = [f"{'layer':<{wide}}{'quantity':<13}{'measured':>10}{'predicted':>11}{'± sd':>9}{'z':>7}  verdict"]
        for r in self.rows:
            numbers = f"{r.measured:>10.4g}{r.predicted:>11.4g}{r.predicted_sd:>9.2g}{r.z:>7.1f}"
            lines.append(f"{r.layer:<{wide}}{r.quantity:<13}{numbers}  {r.verdict}" + (f": {r.advice}" if r.advice else ""))
        return "\n".join(lines + [f"{name}: {reason}" for name, reason in self.flags])
