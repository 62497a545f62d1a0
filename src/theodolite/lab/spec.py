"""What a sweep is over: an experiment, axes of values, and fixed settings; its cells are counted, never listed."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from theodolite.core.errors import ArgumentError, UnknownNameError, unknown
from theodolite.core.experiment import canonical

__all__ = ["Spec", "differences", "experiment_class", "experiment_name", "shape_of"]


def experiment_class(experiment: Any) -> type:
    """The class behind ``experiment``: a registered name, ``"package.module:Class"``, or the class itself.

    Raises:
        ArgumentError: it is no frozen dataclass with a ``run`` method.
        UnknownNameError: no such name; the nearest ones are listed.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Square:
        ...     a: float = 1.0
        ...     def run(self):
        ...         return {"square": self.a**2}
        >>> experiment_class(Square).__name__
        'Square'
    """
    found = _by_name(experiment) if isinstance(experiment, str) else experiment
    if not isinstance(found, type):
        raise ArgumentError(
            f"experiment must be a registered name, 'module:Class' or a class, got {type(found).__name__}; "
            "pass the class and give its settings as keywords"
        )
    if not (dataclasses.is_dataclass(found) and getattr(found, "__dataclass_params__").frozen):  # noqa: B009 (not in typeshed)
        raise ArgumentError(
            f"experiment must be a frozen dataclass, got {found.__qualname__}; decorate it with @dataclass(frozen=True)"
        )
    if not callable(getattr(found, "run", None)):
        raise ArgumentError(f"experiment must have a method run(), which {found.__qualname__} lacks")
    return found


def _by_name(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        from theodolite.core.registry import experiment

        return experiment(name)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"experiment {name!r} cannot be imported: {error}") from error
    return found


def experiment_name(cls: type) -> str:
    """The name under which `experiment_class` finds ``cls`` again."""
    from theodolite.core.experiment import EXPERIMENTS

    name = getattr(cls, "name", None)
    if isinstance(name, str) and EXPERIMENTS.get(name) is cls:
        return name
    return f"{cls.__module__}:{cls.__qualname__}"


def _axis(name: str, values: Any) -> Sequence[Any]:
    """The values of one axis as a tuple of plain Python values (a range stays a range)."""
    if isinstance(values, range) and len(values) > 1:
        plain: Sequence[Any] = values
    else:
        listed = values.tolist() if hasattr(values, "tolist") else values
        if isinstance(listed, (str, bytes, Mapping)) or not isinstance(listed, Iterable):
            raise ArgumentError(f"over[{name!r}] must be a list of values, got {values!r}; write [{values!r}] for a single one")
        plain = tuple(_plain(v) for v in listed)
    if not len(plain):
        raise ArgumentError(f"over[{name!r}] must hold at least one value, got none")
    if not isinstance(plain, range):
        # Numbers are compared as numbers (1 == 1.0 == True is one cell), all else by how it is stored.
        labels = [v if isinstance(v, (int, float)) else json.dumps(canonical(v)) for v in plain]
        if any(v != v for v in labels):
            raise ArgumentError(f"over[{name!r}] must not hold NaN: a cell is found by its value, and NaN equals nothing")
        if len(set(labels)) < len(labels):
            double = next(label for label in labels if labels.count(label) > 1)
            raise ArgumentError(f"over[{name!r}] must hold different values, got {double} more than once")
    return plain


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist") and not isinstance(value, type):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    return value


@dataclasses.dataclass(frozen=True)
class Spec:
    """An experiment with axes and fixed settings.

    Attributes:
        experiment: the class.
        over: axis -> its values.
        fixed: settings that are the same in all cells (those that were given; the others have their defaults).

    Example:
        >>> from theodolite.lab.spec import Spec
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Product:
        ...     a: float
        ...     b: float = 1.0
        ...     def run(self):
        ...         return {"product": self.a * self.b}
        >>> spec = Spec.of(Product, {"a": [1.0, 2.0], "b": range(3)}, {})
        >>> spec.cells, spec.cell(4), spec.build(4)
        (6, {'a': 2.0, 'b': 1}, Product(a=2.0, b=1))
    """

    experiment: type
    over: Mapping[str, Sequence[Any]]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, experiment: Any, over: Mapping[str, Any], fixed: Mapping[str, Any]) -> Spec:
        """A checked spec.

        Raises:
            ArgumentError: no axis, an axis without or with repeated values, a setting that is given twice or not at all.
            UnknownNameError: a setting that the experiment does not have.
        """
        kind = experiment_class(experiment)
        if not isinstance(over, Mapping) or not over:
            raise ArgumentError(f"over must name at least one axis, as in over={{'seed': range(8)}}, got {over!r}")
        fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
        for setting in (*over, *fixed):
            if setting not in fields:
                raise unknown(f"setting of {experiment_name(kind)}", setting, fields)
        for setting in over:
            if setting in fixed:
                raise ArgumentError(f"{setting!r} is an axis and a fixed setting; leave it out of one of them")
        missing = [
            f.name
            for f in fields.values()
            if f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
            and f.name not in over
            and f.name not in fixed
        ]
        if missing:
            raise ArgumentError(
                f"{experiment_name(kind)} needs a value for {', '.join(missing)}: give it in over or as a keyword"
            )
        return cls(kind, {str(a): _axis(a, v) for a, v in over.items()}, dict(fixed))

    @property
    def cells(self) -> int:
        """Number of cells: the product of the axes' lengths."""
        return prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(values) for values in self.over.values())

    def cell(self, index: int) -> dict[str, Any]:
        """Axis -> value of the cell at ``index`` in row-major order (the last axis runs fastest)."""
        position: dict[str, Any] = {}
        for axis, values in reversed(list(self.over.items())):
            index, k = divmod(index, len(values))
            position[axis] = values[k]
        return {axis: position[axis] for axis in self.over}

    def build(self, index: int) -> Any:
        """The experiment of the cell at ``index``."""
        return self.experiment(**{**self.fixed, **self.cell(index)})

    def as_json(self) -> dict[str, Any]:
        """The spec as plain JSON: name, axes, and *all* other settings, so that a changed default is a changed spec."""
        settings = {}
        for field in dataclasses.fields(self.experiment):
            if field.init and field.name not in self.over:
                default = field.default if field.default is not dataclasses.MISSING else None
                if field.default_factory is not dataclasses.MISSING:
                    default = field.default_factory()
                settings[field.name] = canonical(self.fixed.get(field.name, default))
        over = {axis: _short(values) for axis, values in self.over.items()}
        return {"experiment": experiment_name(self.experiment), "over": over, "fixed": settings}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Spec:
        """The spec that `as_json` wrote; lists come back as tuples.

        Raises:
            UnknownNameError: the experiment cannot be imported here.
        """
        over = {axis: unfold(values) for axis, values in saved["over"].items()}
        return cls.of(saved["experiment"], over, {name: _plain(value) for name, value in saved["fixed"].items()})

    @property
    def seeds(self) -> dict[str, Any]:
        """The settings that are seeds, by name: what repeats the random numbers."""
        saved = self.as_json()
        settings = {**saved["fixed"], **saved["over"]}
        return {name: value for name, value in settings.items() if "seed" in name.lower()}


def _short(values: Sequence[Any]) -> Any:
    """Axis values as JSON; equally spaced integers, of which there may be a million, as a range."""
    if isinstance(values, range):
        return {"range": [values.start, values.start + values.step * len(values), values.step]}
    if len(values) > 1 and all(type(v) is int for v in values):
        step = values[1] - values[0]
        if step and all(b - a == step for a, b in pairwise(values)):
            return {"range": [values[0], values[0] + step * len(values), step]}
    return canonical(values)


def unfold(values: Any) -> Sequence[Any]:
    """Axis values as `Spec.as_json` writes them, or as a spec file may: a list, or a mapping with one known rule.

    Example:
        >>> unfold({"range": [0, 4, 1]}), unfold({"linspace": [0, 1, 3]}).tolist(), unfold({"geomspace": [1, 100, 3]}).tolist()
        (range(0, 4), [0.0, 0.5, 1.0], [1.0, 10.0, 100.0])
    """
    if not isinstance(values, Mapping):
        return values
    import numpy as np

    rules = {"range": range, "linspace": np.linspace, "geomspace": np.geomspace, "logspace": np.logspace}
    if len(values) != 1 or next(iter(values)) not in rules:
        raise ArgumentError(f"an axis is a list or one of {', '.join(rules)} with its arguments, got {dict(values)!r}")
    rule, arguments = next(iter(values.items()))
    return rules[rule](*arguments)  # type: ignore[operator]


def differences(stored: Any, asked: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, a line each.

    Example:
        >>> differences({"fixed": {"width": 50, "lr": 0.1}}, {"fixed": {"width": 100, "lr": 0.1}})
        ['fixed.width: 50 in the store, 100 asked for']
    """
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        lines = []
        for key in dict.fromkeys([*stored, *asked]):
            where = f"{path}.{key}" if path else str(key)
            if key not in stored:
                lines.append(f"{where}: not in the store, {_cut(asked[key])} asked for")
            elif key not in asked:
                lines.append(f"{where}: {_cut(stored[key])} in the store, not asked for")
            else:
                lines += differences(stored[key], asked[key], where)
        return lines
    return [] if stored == asked else [f"{path}: {_cut(stored)} in the store, {_cut(asked)} asked for"]


def _cut(value: Any, limit: int = 120) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else f"{text[: limit - 20]} … {text[-15:]}"


def shape_of(experiment: Any) -> Hashable:
    """What two cells must share to be stacked into one ensemble.

    The experiment's own ``shape`` attribute if it has one; else the values of all its settings but real numbers and seeds:
    widths, depths, names and step counts must agree, while rates, scales and seeds may differ.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Net:
        ...     width: int
        ...     rate: float
        ...     seed: int
        >>> shape_of(Net(5, 0.1, 0)) == shape_of(Net(5, 0.2, 1)) != shape_of(Net(6, 0.1, 0))
        True
    """
    own = getattr(experiment, "shape", None)
    if own is not None and not callable(own):
        return json.dumps(canonical(own))
    settings = {f.name: getattr(experiment, f.name) for f in dataclasses.fields(experiment)}
    kept = {name: v for name, v in settings.items() if not isinstance(v, float) and "seed" not in name.lower()}
    return json.dumps(canonical(kept), sort_keys=True)
