"""What a setting of an experiment may be: the kind of its default decides, once for all experiments."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from theodolite.core.errors import ArgumentError

__all__ = ["fitting"]


def fitting(name: str, value: Any, default: Any) -> Any:
    """``value`` as the setting ``name`` whose default is ``default``.

    * A truth value stays one; a whole number must be whole; a number must be a real number.
    * A tuple takes any sequence or array; one value alone is a tuple of one.
    * ``seeds`` may be a number of seeds or the seeds themselves: n and 0 … n − 1 mean the same, whichever of the two the experiment
      keeps.

    Args:
        name: the setting's name, used in errors.
        value: what was given.
        default: the setting's default; None and texts allow anything.

    Raises:
        ArgumentError: a value of another kind, no value, or other seeds where the experiment derives its own.

    Example:
        >>> fitting("widths", [32, 64], (8, 16)), fitting("widths", 32, (8, 16))
        ((32, 64), (32,))
        >>> fitting("seeds", 3, (0, 1)), fitting("seeds", (0, 1, 2), 5)
        ((0, 1, 2), 3)
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(default, tuple):
        return _several(name, value, default)
    if isinstance(default, bool):
        return _checked(name, value, isinstance(value, bool), "True or False")
    if isinstance(default, int) and name == "seeds" and isinstance(value, Sequence) and not isinstance(value, str):
        rule = "a number of seeds n, or 0 … n − 1, because this experiment derives its generators from them"
        _checked(name, value, len(value) > 0 and list(value) == list(range(len(value))), rule)
        return len(value)
    return _number(name, value, default)


def _several(name: str, value: Any, default: tuple[Any, ...]) -> tuple[Any, ...]:
    if name == "seeds" and _is_whole(value):
        return tuple(range(_checked(name, int(value), value >= 1, "at least one seed")))
    several = tuple(value) if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, str) else (value,)
    _checked(name, value, len(several) > 0, "at least one value")
    kinds = {type(v) for v in default}
    pattern = 0 if kinds == {int} else 0.0 if kinds and kinds <= {int, float} else None
    return tuple(_number(name, v, pattern) for v in several)


def _number(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        return value
    if isinstance(default, int):
        return int(_checked(name, value, _is_whole(value), "a whole number"))
    if isinstance(default, float):
        return _checked(name, value, isinstance(value, numbers.Real) and not isinstance(value, bool), "a number")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value // 1


def _checked(name: str, value: Any, right: bool, rule: str) -> Any:
    if not right:
        raise ArgumentError(f"{name} must be {rule}, got {value!r}")
    return value
