"""Experiments: frozen dataclasses of settings whose ``run()`` is a pure function of them."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from theodolite.core.errors import ArgumentError, unknown
from theodolite.core.quantity import topic_of
from theodolite.core.record import Record, provenance
from theodolite.core.settings import fitting

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["EXPERIMENTS", "Experiment", "canonical"]

#: All experiments registered so far, by name.
EXPERIMENTS: dict[str, type[Experiment]] = {}


def canonical(value: Any) -> Any:
    """Settings as plain JSON: tuples and ranges as lists, numpy numbers as Python numbers, callables by qualified name."""
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range, set, frozenset)):
        return [canonical(v) for v in value]
    if hasattr(value, "tolist"):
        return canonical(value.tolist())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(value):
        return f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', type(value).__qualname__)}"
    return str(value)


class Experiment(ABC):
    """Base of all experiments. Subclasses are frozen dataclasses; defining one registers it as ``topic.snake_case_name``, unless it
    has no ``measure`` and only holds settings that several experiments share.

    Class attributes of a subclass:
        reference: bibliography key of the paper whose figure it is.
        small: settings that make it run in seconds; used by tests and by ``--scale small``.

    Example:
        >>> from theodolite.core.registry import experiment
        >>> staircase = experiment("rank.staircase")()
        >>> staircase.name, staircase.key == experiment("rank.staircase")().key
        ('rank.staircase', True)
    """

    name: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    small: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if getattr(cls.measure, "__isabstractmethod__", False):
            return  # settings that several experiments share
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        cls.name = f"{topic_of(cls.__module__)}.{words}"
        EXPERIMENTS[cls.name] = cls

    def __post_init__(self) -> None:
        """Settings of the kind of their defaults; a subclass with rules of its own calls this first."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if "|" not in str(field.type) and field.default is not dataclasses.MISSING:
                object.__setattr__(self, field.name, fitting(field.name, getattr(self, field.name), field.default))

    @abstractmethod
    def measure(self) -> xr.Dataset:
        """Carry the experiment out and return its labelled results."""

    def run(self) -> Record:
        """Carry the experiment out and return its record, with settings, versions and wall time."""
        start = time.perf_counter()
        data = self.measure()
        return Record(self.name, self.settings, data, provenance(seconds=time.perf_counter() - start))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {f.name: canonical(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    @property
    def key(self) -> str:
        """Content hash of name and settings: equal experiments have equal keys."""
        text = json.dumps([self.name, self.settings], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Setting -> what it means, from the section ``Attributes`` of the docstrings of the class and of those it derives from."""
        found: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Experiment) and base is not Experiment:
                found |= _attributes(inspect.cleandoc(base.__doc__ or ""))
        return found

    @classmethod
    def with_settings(cls, scale: str = "paper", **settings: Any) -> Self:
        """An instance at ``scale`` (``"paper"``: the defaults; ``"small"``: seconds) with some settings changed.

        Raises:
            UnknownNameError: a setting that the experiment does not have.
            ArgumentError: a scale other than the two.
        """
        if scale not in ("paper", "small"):
            raise ArgumentError(f"scale must be 'paper' or 'small', got {scale!r}")
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for setting in settings:
            if setting not in known:
                raise unknown(f"setting of {cls.name}", setting, known)
        return cls(**{**(cls.small if scale == "small" else {}), **settings})


def _attributes(documentation: str) -> dict[str, str]:
    """Attribute -> its line of a docstring's section of attributes."""
    section = re.search(r"^Attributes:\n((?:[ ]{4,}.*\n?|\n)+)", documentation, flags=re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section.group(1).splitlines() if section else ():
        begins = re.match(r"^ {4}([\w, ]+): (.*)$", line)
        if begins:
            names = [part.strip() for part in begins.group(1).split(",")]
            name = names[0]
            found.update(dict.fromkeys(names, begins.group(2)))
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
