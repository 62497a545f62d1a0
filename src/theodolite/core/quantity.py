"""Quantities: pure functions of plain tensors, registered by a decorator.

A quantity's positional parameters without default are its *needs* (see `theodolite.core.needs`); its keyword-only parameters are
its *options*. Written once, it is a library call on any array, a probe during training, a column of a sweep and a row of a report.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from theodolite.core.arrays import as_given
from theodolite.core.errors import UnsupportedError, unknown
from theodolite.core.measurement import Judgement, Measurement, Observation
from theodolite.core.needs import NEEDS, check_needs

__all__ = ["ALIASES", "QUANTITIES", "Quantity", "quantity", "topic_of"]

P = ParamSpec("P")
R = TypeVar("R")

#: All quantities registered so far, by name; `theodolite.core.registry.quantities` loads the topics first.
QUANTITIES: dict[str, Quantity] = {}
#: Second name -> name.
ALIASES: dict[str, str] = {}


def topic_of(module: str) -> str:
    """The topic that a module belongs to: the package that holds ``measure``, ``experiments`` or ``claims``.

    Example:
        >>> topic_of("theodolite.theory.rank.measure")
        'rank'
    """
    parts = module.split(".")
    for role in ("measure", "predict", "construct", "experiments", "claims", "figures"):
        if role in parts and parts.index(role) > 0:
            return parts[parts.index(role) - 1]
    return parts[-1]


@dataclass(frozen=True)
class Quantity:
    """A registered quantity.

    Attributes:
        name: ``topic.function``.
        symbol: as in the papers.
        reference: key into ``references.bib``, with the place after a blank.
        function: the function itself.
        fill: parameter name -> need that fills it.
        options: keyword-only parameters and their defaults.
        interval: function of the same parameters returning the interval (low, high) that rounding allows.
        judge: turns an `Observation` into a `Judgement`.
        per_output: whether it takes a backward pass through the model for each output.
    """

    name: str
    symbol: str
    reference: str
    function: Callable[..., Any]
    fill: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    interval: Callable[..., Any] | None = None
    judge: Callable[[Observation], Judgement] | None = None
    per_output: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The needs by name, in order."""
        return tuple(self.fill.values())

    @property
    def level(self) -> str:
        """``layer`` when any need is per layer, else ``network``."""
        return "layer" if any(NEEDS[need].level == "layer" for need in self.needs) else "network"

    @property
    def topic(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def prediction(self) -> Callable[..., Any] | None:
        """The theory's function of the same name in the topic's ``predict``, if there is one."""
        from theodolite.core.registry import sibling

        return getattr(sibling(self.function.__module__, "predict"), self.function.__name__, None)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `UnknownNameError` for an option that the quantity does not have."""
        for option in options:
            if option not in self.options:
                raise unknown(f"option of {self.name}", option, self.options)

    def arguments(self, show: Callable[[str], Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of a call: needs filled by ``show(need)``, and options."""
        self.check_options(options)
        return {parameter: show(need) for parameter, need in self.fill.items()} | dict(options)

    def value(self, show: Callable[[str], Any], **options: Any) -> Any:
        """The bare value, without its resolution: for probes during training."""
        return self.function(**self.arguments(show, options))

    def measure(self, show: Callable[[str], Any], **options: Any) -> Measurement:
        """The value with its resolution."""
        arguments = self.arguments(show, options)
        value = self.function(**arguments)
        if isinstance(value, Measurement):
            return value
        if self.interval is None:
            return Measurement(value)
        low, high = self.interval(**arguments)
        return Measurement(value, low=low, high=high)


def quantity(
    *,
    symbol: str,
    reference: str,
    fill: Mapping[str, str] | None = None,
    interval: Callable[..., Any] | None = None,
    judge: Callable[[Observation], Judgement] | None = None,
    alias: str | None = None,
    per_output: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a pure function of tensors as a quantity named ``topic.function``.

    The function stays callable as it is; when all its array arguments are numpy arrays it returns numpy.

    Args:
        symbol: the papers' symbol.
        reference: bibliography key, optionally with a place (``"jacot2018 Thm 1"``).
        fill: needs for parameters whose name is not the need's, or which have a default.
        interval: same parameters -> (low, high) that rounding allows.
        judge: verdict and advice for a report row.
        alias: a second name within the topic, by which the quantity can be asked for.
        per_output: it takes a backward pass through the model for each output, so that a report must mind the price.

    Raises:
        UnknownNameError: a required positional parameter is nothing that a lens can show.
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        explicit = dict(fill or {})
        filled = {p.name: explicit.get(p.name, p.name) for p in positional if p.default is p.empty or p.name in explicit}
        name = f"{topic_of(function.__module__)}.{function.__name__}"
        check_needs(filled.values(), f"quantity {name}")

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = as_given(function(*args, **kwargs), *args, *kwargs.values())
            return result

        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        if alias is not None:
            ALIASES[f"{topic_of(function.__module__)}.{alias}"] = name
        QUANTITIES[name] = Quantity(name, symbol, reference, call, filled, options, interval, judge, per_output)
        return call

    return register


def refuse(quantity_name: str, layer: str, reason: str) -> UnsupportedError:
    """An error for a quantity that cannot be measured on a layer, with the reason."""
    return UnsupportedError(f"{quantity_name} cannot be measured at layer {layer!r}: {reason}")
