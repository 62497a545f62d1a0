"""Finding topics, and what they hold, by name. Topics are packages listed under the entry point ``theodolite.topics``."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING

from theodolite.core.errors import unknown
from theodolite.core.quantity import ALIASES, QUANTITIES, Quantity, topic_of

if TYPE_CHECKING:
    from theodolite.core.claim import Claim
    from theodolite.core.experiment import Experiment

__all__ = ["claims", "experiment", "experiments", "quantities", "quantity_named", "sibling", "topics"]

ROLES = ("predict", "measure", "construct", "claims", "experiments", "figures")


@functools.cache
def topics() -> Mapping[str, str]:
    """Topic name -> package, from the entry points, sorted by name."""
    return {point.name: point.value for point in sorted(entry_points(group="theodolite.topics"), key=lambda p: p.name)}


def sibling(module: str, role: str) -> ModuleType | None:
    """The module ``role`` (``predict``, ``claims``, ``figures``, …) of the topic that ``module`` belongs to, or None."""
    package = module.split(f".{topic_of(module)}.")[0] + "." + topic_of(module) if "." in module else module
    name = f"{package}.{role}"
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return importlib.import_module(name) if found else None


@functools.cache
def _load(role: str) -> None:
    for package in topics().values():
        if importlib.util.find_spec(f"{package}.{role}"):
            importlib.import_module(f"{package}.{role}")


def quantities() -> Mapping[str, Quantity]:
    """All quantities of all topics, by name."""
    _load("measure")
    return dict(sorted(QUANTITIES.items()))


def quantity_named(name: str) -> Quantity:
    """The quantity ``name``, e.g. ``"rank.epsilon_rank"``.

    Raises:
        UnknownNameError: with the nearest names.
    """
    package = topics().get(name.partition(".")[0])
    if package is not None:
        sibling(f"{package}.measure", "measure")  # only the topic that is asked for
    if name in ALIASES:
        return replace(QUANTITIES[ALIASES[name]], name=name)  # under the name that it was asked for by
    if name not in QUANTITIES:
        raise unknown("quantity", name, quantities())
    return QUANTITIES[name]


def experiments() -> Mapping[str, type[Experiment]]:
    """All experiments of all topics, by name."""
    from theodolite.core.experiment import EXPERIMENTS

    _load("experiments")
    return dict(sorted(EXPERIMENTS.items()))


def experiment(name: str) -> type[Experiment]:
    """The experiment class ``name``, e.g. ``"rank.staircase"``.

    Raises:
        UnknownNameError: with the nearest names.
    """
    known = experiments()
    if name not in known:
        raise unknown("experiment", name, known)
    return known[name]


def claims(experiment_name: str | None = None) -> list[Claim]:
    """All claims, or those that are checked on records of one experiment."""
    from theodolite.core.claim import CLAIMS

    _load("claims")
    return [claim for claim in CLAIMS.values() if experiment_name in (None, claim.experiment)]
