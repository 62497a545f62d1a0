"""What a cell's ``run()`` returns, brought into one form: names to plain little-endian arrays with dimensions and attributes."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.core.errors import ArgumentError
from theodolite.core.experiment import canonical
from theodolite.lab.artefact import Artefact

__all__ = ["Outcome", "Value", "attribute", "outcome_of", "own_attributes", "reason_of", "shared_attributes"]


@dataclass(frozen=True)
class Value:
    """One named result of one cell."""

    array: np.ndarray
    dims: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one cell: its values, or the reason why there are none.

    Attributes:
        values: result name -> value.
        coords: coordinates of the results' own dimensions.
        artefacts: result name -> heavy artefact.
        attrs: attributes of the whole result.
        reason: empty, or why the cell failed.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    coords: Mapping[str, Value] = field(default_factory=dict)
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


def outcome_of(result: Any, cell: Mapping[str, Any]) -> Outcome:
    """The outcome of a cell whose ``run()`` returned ``result``.

    Args:
        result: a `Record`, an xarray Dataset, or a mapping of names to numbers, arrays, tensors, DataArrays or artefacts.
        cell: axis -> value. A result that only repeats an axis's value is dropped: it is the coordinate. Other results and
            dimensions of an axis's name get the ending ``_within``.

    Raises:
        ArgumentError: ``result`` is of another kind, or holds what is neither number, boolean nor text.

    Example:
        >>> outcome_of({"loss": 0.5, "a": 2.0}, {"a": 2.0}).values
        {'loss': Value(array=array(0.5), dims=(), attrs={})}
    """
    from theodolite.core.record import Record

    data = result.data if isinstance(result, Record) else result
    if hasattr(data, "data_vars") and hasattr(data, "coords"):
        values = {str(name): _labelled(name, array) for name, array in data.data_vars.items()}
        coords = {str(name): _labelled(name, array) for name, array in data.coords.items()}
        attrs: Mapping[str, Any] = dict(data.attrs)
        artefacts: dict[str, Artefact] = {}
    elif isinstance(data, Mapping):
        artefacts = {str(name): value for name, value in data.items() if isinstance(value, Artefact)}
        labelled = {n: v for n, v in data.items() if hasattr(v, "dims") and hasattr(v, "coords")}
        values = {str(n): _value(n, v) for n, v in data.items() if str(n) not in artefacts}
        coords = {str(n): _labelled(n, c) for array in labelled.values() for n, c in array.coords.items()}
        attrs = {}
    else:
        raise ArgumentError(f"run() must return a Record or a mapping of names to numbers and arrays, got {type(data).__name__}")
    values = {name: value for name, value in values.items() if not _repeats(name, value, cell)}
    coords = {name: value for name, value in coords.items() if not (name in cell and value.array.ndim == 0)}
    if any(axis == name or axis in value.dims for axis in cell for name, value in (*coords.items(), *values.items())):
        values, coords = _renamed(values, cell), _renamed(coords, cell)
    return Outcome(values, coords, artefacts, attrs)


def _renamed(values: Mapping[str, Value], cell: Mapping[str, Any]) -> dict[str, Value]:
    """``values`` with ``_within`` added to names and dimensions that are those of an axis."""

    def own(name: str) -> str:
        return f"{name}_within" if name in cell else name

    return {own(name): Value(value.array, tuple(map(own, value.dims)), value.attrs) for name, value in values.items()}


def _repeats(name: str, value: Value, cell: Mapping[str, Any]) -> bool:
    return name in cell and value.array.ndim == 0 and value.array.item() == cell[name]


def _value(name: Any, value: Any) -> Value:
    if hasattr(value, "dims") and hasattr(value, "coords"):
        return _labelled(name, value)
    array = _plain_array(name, value)
    return Value(array, tuple(f"{name}_{k}" for k in range(array.ndim)))


def _labelled(name: Any, array: Any) -> Value:
    return Value(_plain_array(name, array.values), tuple(map(str, array.dims)), dict(array.attrs))


def _plain_array(name: Any, value: Any) -> np.ndarray:
    """``value`` as a little-endian array of booleans, numbers or fixed-length text."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.resolve_conj().resolve_neg().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentError(f"the result {name!r} is no array: {error}; give ragged results as lab.Artefact") from error
    if array.dtype.kind == "T" or (array.dtype.kind == "O" and array.size and all(isinstance(v, str) for v in array.flat)):
        array = array.astype(str)
    if array.dtype.kind not in "biufcU":
        raise ArgumentError(
            f"the result {name!r} must be numbers, booleans or text, got {type(value).__name__} of dtype {array.dtype}"
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def own_attributes(outcome: Outcome, shared: Mapping[str, Any]) -> Outcome:
    """The outcome with those of its attributes that are not the sweep's ``shared`` ones as results named ``<attribute>_of_cell``.

    Example:
        >>> sorted(own_attributes(Outcome(attrs={"gamma": 2.0, "figure": "none"}), {"gamma": 1.0, "figure": "none"}).values)
        ['gamma_of_cell']
    """
    own = {
        f"{name}_of_cell": Value(attribute(value))
        for name, value in outcome.attrs.items()
        if name not in shared or attribute(value).tolist() != attribute(shared[name]).tolist()
    }
    return replace(outcome, values={**outcome.values, **own}) if own else outcome


def shared_attributes(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Attributes that all outcomes have, with equal values; none if there is but one outcome to tell from."""
    if len(outcomes) < 2:
        return {}
    first = outcomes[0].attrs
    return {
        name: value
        for name, value in first.items()
        if all(name in o.attrs and attribute(o.attrs[name]).tolist() == attribute(value).tolist() for o in outcomes)
    }


def attribute(value: Any) -> np.ndarray:
    """An attribute as a plain scalar array: numbers, booleans and text as they are, anything else as JSON text."""
    plain = canonical(value)
    if not isinstance(plain, (bool, int, float, str)):
        plain = json.dumps(plain, sort_keys=True)
    return _plain_array("attribute", plain)


def reason_of(error: BaseException) -> str:
    """An exception in a line: kind, message, and the place in the code that raised it.

    Example:
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError as error:
        ...     reason_of(error).startswith("ZeroDivisionError: division by zero")
        True
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
