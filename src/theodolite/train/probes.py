"""Probes: what is measured between segments, on views of all members at once."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from theodolite.core.errors import ArgumentError, UnsupportedError
from theodolite.core.measurement import Measurement
from theodolite.core.needs import NEEDS
from theodolite.core.quantity import Quantity
from theodolite.core.registry import quantity_named

if TYPE_CHECKING:
    from theodolite.train.ensemble import Ensemble

__all__ = ["Probe", "View", "find_probes"]


#: Needs that are the same for all members.
SHARED = {"sample_weights"}

#: Names that every record of a run uses itself.
RESERVED = {"member", "look", "step", "layer", "loss", "train_loss", "test_loss", "status", "stopped_at"}


class View:
    """All members at one look. Everything is computed on first use and kept until the look is over.

    Attributes:
        ensemble: the ensemble (its rows are the members that are still looked at).
        step: steps taken so far.
        x: the inputs that probes see, (1 or E, N, d).
        y: the targets as the loss prepared them, or None when the probes' inputs are not the training inputs.
        loss: the loss.
        initial: parameters at the start of the run.
    """

    def __init__(
        self, ensemble: Ensemble, step: int, x: Tensor, y: Tensor | None, loss: Any, initial: Mapping[str, Tensor]
    ) -> None:
        self.ensemble, self.step, self.x, self.y, self.loss, self.initial = ensemble, step, x, y, loss, initial

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Name -> [E, …]."""
        return self.ensemble.parameters

    @functools.cached_property
    def passed(self) -> Any:
        """One forward pass of all members on ``x``."""
        model = self.ensemble.model
        if self.ensemble.spec is None:
            raise UnsupportedError(
                "an ensemble made from a module has no hidden layers of its own; probe its outputs or parameters"
            )
        return model.forward(list(self.parameters.values()), self.x)  # type: ignore[union-attr]

    @property
    def features(self) -> list[Tensor]:
        """Per hidden layer (E, N, n)."""
        return self.passed.features[1:]

    @functools.cached_property
    def outputs(self) -> Tensor:
        """(E, N, K)."""
        if self.ensemble.spec is None:
            return self.ensemble.model.outputs(self.ensemble.tensors, self.x)
        return self.passed.outputs

    def weights(self, layer: str) -> Tensor:
        """Incoming rows with the bias as last column, (E, n, d [+ 1])."""
        return self.ensemble.weights(layer)

    def show(self, need: str, layer: int) -> Any:
        """A need of `theodolite.core.needs` with the member axis first; members share the `SHARED` ones, which have none.

        Args:
            need: its name.
            layer: number of the hidden layer; ignored by needs of the whole network.

        Raises:
            UnsupportedError: a need that only a lens on one member can show.
        """
        filler = getattr(self, f"_{need}", None)
        if filler is None:
            raise UnsupportedError(f"an ensemble cannot show {need!r} for all members at once")
        return filler(layer) if NEEDS[need].level == "layer" else filler()

    def _features(self, layer: int) -> Tensor:
        return self.features[layer]

    def _preactivations(self, layer: int) -> Tensor:
        return self.passed.preactivations[layer]

    def _patterns(self, layer: int) -> Tensor:
        return self.passed.preactivations[layer] > 0

    def _weights(self, layer: int) -> Tensor:
        return self.ensemble.weights(layer)

    def _initial_weights(self, layer: int) -> Tensor:
        name = self.ensemble.layers[layer]
        weight, bias = self.initial[f"{name}.weight"], self.initial.get(f"{name}.bias")
        return weight if bias is None else torch.cat([weight, bias[..., None]], -1)

    def _outgoing(self, layer: int) -> Tensor:
        return self.parameters[f"{self.ensemble.layers[layer + 1]}.weight"]

    def _amplitudes(self, layer: int) -> Tensor:
        return self._outgoing(layer).norm(dim=-2) * self._weights(layer).norm(dim=-1)

    def _sample_weights(self) -> Tensor:
        return torch.full((self.x.shape[1],), 1 / self.x.shape[1], dtype=self.x.dtype, device=self.x.device)

    def _outputs(self) -> Tensor:
        return self.outputs.flatten(2)

    def _targets(self) -> Tensor:
        if self.y is None:
            raise UnsupportedError("targets are not known at other inputs than the training inputs; leave probe_inputs out")
        if self.loss.labels:
            classes = self.outputs.shape[-1]
            return torch.nn.functional.one_hot(self.y, classes).to(self.x.dtype).expand(len(self.ensemble), -1, -1)
        return self.y.flatten(2).expand(len(self.ensemble), -1, -1)

    def _parameters(self) -> Tensor:
        return torch.cat([p.flatten(1) for p in self.parameters.values()], 1)

    def _initial_parameters(self) -> Tensor:
        return torch.cat([p.flatten(1) for p in self.initial.values()], 1)

    def lens(self, row: int, initial: bool = False) -> Any:
        """A `theodolite.Lens` on one member.

        Args:
            row: the member's row.
            initial: whether it also knows the member at the start of the run.
        """
        from theodolite.lens import Lens

        x = self.x[0 if self.x.shape[0] == 1 else row]
        y = None if self.y is None else self.y[0 if self.y.shape[0] == 1 else row]
        loss = None if y is None else self.member_loss
        start = copy.copy(self.ensemble)
        start.parameters = dict(self.initial)
        return Lens(self.ensemble.member(row), x, y, loss, initial=Lens(start.member(row), x, y, loss) if initial else None)

    def member_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The run's loss on one member's outputs and targets."""
        value: Tensor = self.loss.value(outputs[None], targets[None])[0]
        return value


@dataclass(frozen=True)
class Probe:
    """One thing to measure at every look.

    Attributes:
        name: of the variable in the record.
        function: what is called.
        needs: parameter -> need, filled from the view; empty: the function is given the view.
        options: keyword arguments.
        about: attributes of the variable.
    """

    name: str
    function: Callable[..., Any]
    needs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def layered(self) -> bool:
        """Whether the probe is measured per hidden layer."""
        return any(NEEDS[need].level == "layer" for need in self.needs.values())

    def measure(self, view: View) -> np.ndarray:
        """The value for all members, (E, …), or (E, layer, …) when it is measured per hidden layer (NaN where a layer is narrower)."""
        if not self.needs:
            return _as_rows(self.function(view, **self.options), len(view.ensemble), self.name)
        if not self.layered:
            return self._one(view, 0)
        return _stacked([self._one(view, layer) for layer in range(len(view.ensemble.layers) - 1)])

    def _one(self, view: View, layer: int) -> np.ndarray:
        """Of one layer: of all members at once, or one by one what an ensemble cannot show or the function does not batch."""
        members = range(len(view.ensemble))
        try:
            arguments = {parameter: view.show(need, layer) for parameter, need in self.needs.items()}
        except UnsupportedError:
            return np.stack([self._member(view, row, layer) for row in members])
        try:
            return _as_rows(self.function(**arguments, **self.options), len(members), self.name)
        except ArgumentError:
            own = [{p: v if self.needs[p] in SHARED else v[row] for p, v in arguments.items()} for row in members]
            return np.stack([_plain(self.function(**given, **self.options)) for given in own])

    @torch.enable_grad()
    def _member(self, view: View, row: int, layer: int) -> np.ndarray:
        """One member by a lens: the slow route for needs such as Jacobians."""
        lens = view.lens(row, any(need.startswith("initial_") for need in self.needs.values()))
        layers = len(view.ensemble.layers) - 1 if view.ensemble.spec is not None else 0
        name = lens.layers[layer] if len(lens.layers) == layers else None
        return _plain(self.function(**{p: lens.show(need, name) for p, need in self.needs.items()}, **self.options))


def _stacked(layers: list[np.ndarray]) -> np.ndarray:
    """(E, layer, …) of one array (E, …) per layer, padded with NaN."""
    if len({values.shape for values in layers}) == 1:
        return np.stack(layers, 1)
    shape = [max(sizes) for sizes in zip(*(values.shape for values in layers), strict=True)]
    padded = np.full((len(layers), *shape), np.nan)
    for k, values in enumerate(layers):
        inner: Any = tuple(map(slice, values.shape))
        padded[(k, *inner)] = values
    return padded.swapaxes(0, 1)


def _plain(value: Any) -> np.ndarray:
    if isinstance(value, Measurement):
        value = float("nan") if value.value is None else value.value
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _as_rows(value: Any, members: int, name: str) -> np.ndarray:
    array = _plain(value)
    if array.ndim == 0 or array.shape[0] != members:
        raise ArgumentError(f"probe {name!r} must return one value per member, shape ({members}, …), got shape {array.shape}")
    return array


def find_probes(probes: Any) -> list[Probe]:
    """Probes from names, (name, settings) pairs, functions, or a dict name -> any of these.

    Raises:
        UnknownNameError: no quantity of that name.
        ArgumentError: something else, or two probes of one name.
    """
    if isinstance(probes, (str, Quantity)) or callable(probes):
        probes = [probes]
    if isinstance(probes, tuple) and len(probes) == 2 and isinstance(probes[0], str) and isinstance(probes[1], Mapping):
        probes = [probes]
    items: Iterable[tuple[str | None, Any]]
    items = probes.items() if isinstance(probes, Mapping) else ((None, probe) for probe in probes)
    found = [_find(name, what) for name, what in items]
    names = [probe.name for probe in found]
    taken = sorted(RESERVED.intersection(names))
    if taken:
        raise ArgumentError(f"the probe name {taken[0]!r} is taken by the record itself; pass a dict with another name")
    if len(set(names)) < len(names):
        raise ArgumentError(f"probes must have distinct names, got {', '.join(names)}; pass a dict name -> probe")
    return found


def _find(name: str | None, what: Any) -> Probe:
    options: Mapping[str, Any] = {}
    if isinstance(what, Sequence) and not isinstance(what, str) and len(what) == 2:
        what, options = what
    if isinstance(what, str):
        what = quantity_named(what)
    if isinstance(what, Quantity):
        for option in options:
            if option not in what.options:
                raise ArgumentError(f"{what.name} has no option {option!r}; it has: {', '.join(what.options) or 'none'}")
        about = {"symbol": what.symbol, "reference": what.reference, "description": what.summary}
        return Probe(name or what.name, what.function, what.fill, options, about)
    if not callable(what):
        raise ArgumentError(f"a probe must be the name of a quantity or a function, got {what!r}")
    label = str(name or getattr(what, "__name__", type(what).__name__))
    return Probe(label, what, _named_needs(what), options)


def _named_needs(function: Callable[..., Any]) -> dict[str, str]:
    """Parameters of a function that are all named as needs; empty if any is not."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    required = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if required and all(name in NEEDS for name in required):
        return {name: name for name in required}
    return {}
