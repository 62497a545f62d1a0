"""Claims: statements of theorems and figures as predicates on a record, with an honest verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from theodolite.core.errors import ArgumentError
from theodolite.core.quantity import topic_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CLAIMS", "Claim", "Verdict", "claim", "fails", "holds", "holds_under", "numbers", "undecided"]

Word = Literal["holds", "holds under", "fails", "undecided"]

#: All claims registered so far, by ``topic.function``.
CLAIMS: dict[str, Claim] = {}


@dataclass(frozen=True)
class Verdict:
    """What a record says of a claim.

    Attributes:
        word: ``holds``, ``holds under``, ``fails`` or ``undecided``.
        evidence: the numbers behind it, in a sentence.
        condition: under which condition it holds (only with ``holds under``).
    """

    word: Word
    evidence: str
    condition: str = ""

    def __post_init__(self) -> None:
        if bool(self.condition) != (self.word == "holds under"):
            raise ArgumentError(
                f"condition is for 'holds under' and only for it, got word={self.word!r}, condition={self.condition!r}"
            )

    def __str__(self) -> str:
        return f"{self.word}: {self.condition}" if self.condition else self.word


def numbers(values: Any, digits: int = 3) -> str:
    """Numbers for a line of evidence, however many dimensions they have.

    Example:
        >>> numbers([[1.0, 2.34567], [3.0, 4.0]])
        '[1, 2.35, 3, 4]'
    """
    import numpy as np

    return f"[{', '.join(f'{value:.{digits}g}' for value in np.ravel(values))}]"


def holds(evidence: str) -> Verdict:
    """The claim holds in this record."""
    return Verdict("holds", evidence)


def holds_under(condition: str, evidence: str) -> Verdict:
    """The claim holds under a condition that it does not state."""
    return Verdict("holds under", evidence, condition)


def fails(evidence: str) -> Verdict:
    """The claim fails here."""
    return Verdict("fails", evidence)


def undecided(evidence: str) -> Verdict:
    """The record cannot decide the claim (too few seeds, not converged, out of scale)."""
    return Verdict("undecided", evidence)


@dataclass(frozen=True)
class Claim:
    """A statement of the literature, checked on the records of one experiment.

    Attributes:
        name: ``topic.function``.
        statement: in words, as the source makes it.
        reference: bibliography key with place.
        experiment: name of the experiment whose records it reads.
        check: dataset -> `Verdict`.
        tolerance: the tolerance used, in words.
    """

    name: str
    statement: str
    reference: str
    experiment: str
    check: Callable[[xr.Dataset], Verdict]
    tolerance: str = ""


def claim(
    experiment: str, *, statement: str, reference: str, tolerance: str = ""
) -> Callable[[Callable[[xr.Dataset], Verdict]], Callable[[xr.Dataset], Verdict]]:
    """Register a function ``dataset -> Verdict`` as a claim on the records of ``experiment`` (full name)."""

    def register(check: Callable[[xr.Dataset], Verdict]) -> Callable[[xr.Dataset], Verdict]:
        name = f"{topic_of(check.__module__)}.{check.__name__}"
        CLAIMS[name] = Claim(name, statement, reference, experiment, check, tolerance)
        return check

    return register
