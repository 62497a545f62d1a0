"""A number with its resolution: value, the interval that rounding allows, and the reason when there is no value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Judgement", "Measurement", "Observation"]


@dataclass(frozen=True)
class Measurement:
    """A measured number.

    Attributes:
        value: scalar tensor or number; None when nothing could be measured.
        low: least value that the resolution allows (None: not known).
        high: greatest value that the resolution allows (None: not known, or unbounded when ``censored``).
        censored: the value is only a bound, because the truth lies beyond the resolution.
        reason: why it is censored or missing; empty otherwise.

    Example:
        >>> print(Measurement(6.6e4, low=6.6e4, censored=True, reason="smallest eigenvalue under the noise floor"))
        ≥ 6.6e+04 (smallest eigenvalue under the noise floor)
    """

    value: Any
    low: Any = None
    high: Any = None
    censored: bool = False
    reason: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"— ({self.reason})"
        text = f"{float(self.value):.4g}"
        if self.censored:
            sign = "≥" if self.low is not None else "≤"
            return f"{sign} {text} ({self.reason})"
        if self.low is not None and self.high is not None and float(self.low) != float(self.high):
            return f"{text} [{float(self.low):.4g}, {float(self.high):.4g}]"
        return text


@dataclass(frozen=True)
class Observation:
    """What a judge sees.

    Attributes:
        measured: one number.
        prediction: what the theory says it is, or None.
        facts: about where it was taken: the quantity's options; ``samples``, ``plain`` (only affine layers and activations),
            ``classes`` (the targets are class labels); for a layer ``layer``, ``width`` what `Architecture.facts` reads off it, and
            what `theodolite.lens.role.Role` says of what writes and reads it.
    """

    measured: Measurement
    prediction: float | None
    facts: dict[str, Any]

    @property
    def value(self) -> float:
        """The measured value as a float."""
        return float(self.measured.value)


#: Level of a judgement -> its place when the most serious come first.
LEVELS = {"bad": 0, "note": 1, "good": 2}


@dataclass(frozen=True)
class Judgement:
    """What a number means.

    Attributes:
        verdict: a word or two.
        advice: what it means and what to do, in a sentence; empty where there is nothing to say.
        level: ``good``, ``note`` or ``bad``.
        severity: orders judgements of one level, and finds the worst layer of a quantity; larger is more serious.
    """

    verdict: str
    advice: str = ""
    level: str = "note"
    severity: float = 0.0
