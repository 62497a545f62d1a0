"""One family of errors. Each message names the argument, the rule, the value got and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "MissingExtraError",
    "ModelError",
    "NumericalError",
    "StoreError",
    "TheodoliteError",
    "TheodoliteWarning",
    "UnknownNameError",
    "UnsupportedError",
    "nearest",
    "require_extra",
    "unknown",
]


class TheodoliteError(Exception):
    """Root of the family: ``except td.TheodoliteError`` catches all that this package raises on purpose."""


class ArgumentError(TheodoliteError, ValueError):
    """An argument breaks a rule: wrong shape, range, dtype, device or a non-finite entry."""


class UnknownNameError(TheodoliteError, LookupError):
    """A quantity, experiment, layer, need or setting of that name does not exist; the nearest names are listed."""


class UnsupportedError(TheodoliteError, TypeError):
    """A module, operation or file that this computation cannot treat; it is named, never passed through."""


class ModelError(TheodoliteError, RuntimeError):
    """The user's model raised an error when it was called; the original error is the cause."""


class NumericalError(TheodoliteError, ArithmeticError):
    """A computation diverged, did not converge, or has no solution; the reason is in the message."""


class StoreError(TheodoliteError, RuntimeError):
    """A store on disk is missing, damaged, full, or belongs to another specification."""


class MissingExtraError(TheodoliteError, ImportError):
    """An optional package is not installed; the message holds the pip line that brings it."""


class TheodoliteWarning(UserWarning):
    """A result is returned, but a hypothesis that it rests on is in doubt."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The names most like ``name``, best first; also matched on the part after the last dot.

    Example:
        >>> nearest("rank.epsilonrank", ["rank.epsilon_rank", "meanfield.chi_1"])
        ['rank.epsilon_rank']
    """
    known = list(known)
    whole = difflib.get_close_matches(name, known, n=count, cutoff=0.6)
    tails: dict[str, list[str]] = {}
    for candidate in known:
        tails.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    by_tail = difflib.get_close_matches(name.rpartition(".")[2], list(tails), n=count, cutoff=0.6)
    found = whole + [candidate for tail in by_tail for candidate in tails[tail]]
    return list(dict.fromkeys(found))[:count]


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error for a misspelt name, with the nearest names, or all of them when none is near.

    Example:
        >>> print(unknown("quantity", "rank.epsilonrank", ["rank.epsilon_rank"]))
        unknown quantity 'rank.epsilonrank'; did you mean 'rank.epsilon_rank'?
    """
    known = sorted(known)
    near = nearest(name, known)
    if near:
        hint = "did you mean " + " or ".join(repr(n) for n in near) + "?"
    else:
        hint = "known: " + (", ".join(known) or "none")
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


def require_extra(module: str, extra: str) -> None:
    """Raise `MissingExtraError` with the pip line when ``module`` cannot be imported."""
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this needs the package {module!r}, which is not installed; run: pip install 'theodolite[{extra}]'"
        )
