"""What a view may be asked for: typed, bounded parameters, parsed strictly from the text of a query."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from theodolite.core.errors import ArgumentError, unknown

__all__ = ["Choice", "Edits", "Field", "Number", "Text", "Whole", "Wholes", "parse"]

#: Longest text of a single parameter.
LONGEST = 2000


class Field(Protocol):
    """A parameter: its default (None: it may be left out) and how its text is read."""

    @property
    def default(self) -> Any:
        """The value when the query leaves it out."""

    def read(self, name: str, text: str) -> Any:
        """The value of ``text``.

        Raises:
            ArgumentError: it breaks the field's rule.
        """


@dataclass(frozen=True)
class Number:
    """A finite number in [low, high]."""

    low: float
    high: float
    default: float | None = None

    def read(self, name: str, text: str) -> float:
        """The number of ``text``, in bounds."""
        try:
            # float() also takes '1_000' and Arabic digits; a page never sends them.
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:  # nan is not
            raise ArgumentError(f"{name} must be a number in [{self.low:g}, {self.high:g}], got {text[:40]!r}")
        return value


@dataclass(frozen=True)
class Whole:
    """A whole number in low…high."""

    low: int
    high: int
    default: int | None = None

    def read(self, name: str, text: str) -> int:
        """The number of ``text``, in bounds."""
        if not re.fullmatch("-?[0-9]{1,12}", text) or not self.low <= int(text) <= self.high:
            raise ArgumentError(f"{name} must be a whole number in {self.low}…{self.high}, got {text[:40]!r}")
        return int(text)


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    options: tuple[str, ...]
    default: str | None = None

    def read(self, name: str, text: str) -> str:
        """``text``, if it is one of the words."""
        if text not in self.options:
            raise unknown(name, text[:60], self.options)
        return text


@dataclass(frozen=True)
class Text:
    """A short text that is only ever compared with names that the server knows."""

    longest: int = 200
    default: str | None = None

    def read(self, name: str, text: str) -> str:
        """``text``, if it is short."""
        if len(text) > self.longest:
            raise ArgumentError(f"{name} must have at most {self.longest} characters, got {len(text)}")
        return text


@dataclass(frozen=True)
class Wholes:
    """Between ``least`` and ``most`` whole numbers in low…high, separated by commas."""

    low: int
    high: int
    least: int
    most: int
    default: tuple[int, ...] | None = None

    def read(self, name: str, text: str) -> tuple[int, ...]:
        """The numbers of ``text``."""
        parts = text.split(",")
        if not self.least <= len(parts) <= self.most:
            raise ArgumentError(f"{name} must hold {self.least} to {self.most} numbers separated by commas, got {len(parts)}")
        one = Whole(self.low, self.high)
        return tuple(one.read(name, part) for part in parts)


@dataclass(frozen=True)
class Edits:
    """Changes of numbered values, ``place:value`` separated by commas; an empty text is none.

    Attributes:
        places: places are below this.
        bound: greatest absolute value.
        default: no changes.
    """

    places: int
    bound: float
    default: tuple[tuple[int, float], ...] = ()

    def read(self, name: str, text: str) -> tuple[tuple[int, float], ...]:
        """The changes of ``text``, in order of their places."""
        if not text:
            return ()
        place, value = Whole(0, self.places - 1), Number(-self.bound, self.bound)
        found: dict[int, float] = {}
        for part in text.split(","):
            left, colon, right = part.partition(":")
            if not colon:
                raise ArgumentError(f"{name} must be place:value pairs separated by commas, got {part[:40]!r}")
            found[place.read(name, left)] = value.read(name, right)
        return tuple(sorted(found.items()))


def parse(fields: Mapping[str, Field], query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Values of all fields from the (name, text) pairs of a query.

    Args:
        fields: name -> what is allowed.
        query: pairs as they came, in any order.

    Raises:
        UnknownNameError: a name or a choice that does not exist.
        ArgumentError: a name given twice, too long a text, or a value out of bounds.

    Example:
        >>> parse({"depth": Whole(1, 100, 10), "q": Number(0, 1)}, [("q", "0.5")])
        {'depth': 10, 'q': 0.5}
    """
    values: dict[str, Any] = {name: field.default for name, field in fields.items()}
    seen: set[str] = set()
    for name, text in query:
        if name not in fields:
            raise unknown("parameter", name[:60], fields)
        if name in seen:
            raise ArgumentError(f"{name} must be given once, got it twice")
        if len(text) > LONGEST:
            raise ArgumentError(f"{name} must have at most {LONGEST} characters, got {len(text)}")
        seen.add(name)
        values[name] = fields[name].read(name, text)
    return values
