"""Quantities along a user's own training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import ArgumentError, TheodoliteError, unknown
from theodolite.core.experiment import canonical
from theodolite.core.needs import NEEDS
from theodolite.core.quantity import Quantity
from theodolite.core.record import Record, check_replaceable, provenance
from theodolite.core.registry import quantity_named
from theodolite.core.schedule import Schedule, as_schedule, log_spaced
from theodolite.lens import Lens

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["Run", "Sink", "track"]

#: Takes the numbers of one look by flat name, and the step; may have ``close()``, called when the run ends.
Sink: TypeAlias = Callable[[Mapping[str, float], int], object]

#: Seconds between writes to the store while training goes on.
SAVE_EVERY = 30.0


def track(
    model: nn.Module,
    x: Any,
    y: Any = None,
    quantities: Sequence[str | tuple[str, Mapping[str, Any]]] | Mapping[str, Mapping[str, Any]] = ("rank.epsilon_rank",),
    *,
    when: Schedule | Callable[[int], bool] | Iterable[int] = log_spaced(10),  # noqa: B008 - a frozen value
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    layers: str | Sequence[str] | None = None,
    sample_weights: Any = None,
    store: str | Path | None = None,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Measure quantities on a fixed probe set while a foreign training loop runs; use as a context manager.

    Args:
        model: the module being trained; looked at in eval mode and left as it is.
        x: probe inputs, in any form that `theodolite.Lens` takes.
        y: probe targets, if a quantity needs them.
        quantities: names, or pairs (name, options), or a mapping name -> options.
        when: a schedule (`every`, `log_spaced`), a list of steps, or a callable ``step -> bool``. Step 0 is the untrained model.
        loss: ``loss(outputs, targets)`` for quantities that need one.
        layers: globs of the layers to observe; default all activations.
        sample_weights: quadrature weights of the probe inputs; default 1/N.
        store: folder to keep the record in; written every half minute, and always on leaving the block, whatever the reason.
        sinks: trackers that get the numbers of every look as it is made: callables ``(numbers, step)``; see
            `theodolite.train.adapters`.

    Returns:
        A `Run`; call ``run.step(loss=…)`` once per optimisation step.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with track(net, x, quantities=["rank.epsilon_rank"], when=[0, 2]) as run:
        ...     for _ in range(2):
        ...         loss = ((net(x) - x**2) ** 2).mean()
        ...         optimizer.zero_grad(); loss.backward(); optimizer.step()
        ...         run.step(loss=loss.detach())
        >>> run.data["rank.epsilon_rank"].dims, run.data.step.values.tolist()
        (('step', 'layer'), [0, 2])
    """
    if isinstance(quantities, str):
        quantities = [quantities]
    pairs = quantities.items() if isinstance(quantities, Mapping) else [(q, {}) if isinstance(q, str) else q for q in quantities]
    chosen = [(quantity_named(name), dict(options)) for name, options in pairs]
    for quantity, options in chosen:
        quantity.check_options(options)
    names = [quantity.name for quantity, _ in chosen]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ArgumentError(f"quantities must name each quantity once, got {', '.join(sorted(twice))} more than once")
    folder = Path(store) if store is not None else None
    if folder is not None:
        check_replaceable(folder)
    lens = Lens(model, x, y, loss, layers=layers, sample_weights=sample_weights)
    return Run(lens, chosen, as_schedule(when), folder, sinks)


class Run:
    """A tracked training run; see `track`. Values that cannot be measured are NaN, with the reason in ``run.reasons``."""

    def __init__(
        self,
        lens: Lens,
        quantities: Sequence[tuple[Quantity, Mapping[str, Any]]],
        when: Schedule,
        store: Path | None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self.when = when
        self.store = store
        self.sinks = list(sinks)
        self.reasons: dict[str, str] = {}
        self.now = 0
        self._lens = lens
        self._initial = lens
        lens.initial = lens  # at step 0 the present is the start
        self._quantities = list(quantities)
        self._steps: list[int] = []
        self._values: dict[str, list[Any]] = {quantity.name: [] for quantity, _ in self._quantities}
        self._curves: dict[str, list[tuple[int, Any]]] = {}
        self._saved = time.monotonic()
        self._start = time.perf_counter()

    def __enter__(self) -> Self:
        for quantity, _ in self._quantities:  # what later looks compare with must be seen before training
            for need in quantity.needs:
                if need.startswith("initial_"):
                    for layer in self._lens.layers:
                        with suppress(TheodoliteError):  # the looks will note the reason
                            self._initial.show(need.removeprefix("initial_"), layer)
        if self.when(0):
            self._look()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as leaving:  # each of these happens, in the reverse order, whatever the others raise
            for sink in self.sinks:
                leaving.callback(getattr(sink, "close", lambda: None))
            if (store := self.store) is not None:
                leaving.callback(lambda: self.record.save(store))
            if kind is None and self.now not in self._steps:
                self._look()

    def step(self, **scalars: Any) -> None:
        """Note that one optimisation step was taken; look if the schedule says so.

        Args:
            scalars: numbers or 0-d tensors of this step, such as ``loss=…``; kept at every step without waiting for the device.
        """
        self.now += 1
        self.note(**scalars)
        if self.when(self.now):
            self._look()
            if self.store is not None and time.monotonic() - self._saved > SAVE_EVERY:
                self.record.save(self.store)
                self._saved = time.monotonic()

    def note(self, **scalars: Any) -> None:
        """Keep numbers or 0-d tensors of the present step, such as a loss that a framework reports after the step.

        Raises:
            ArgumentError: a tensor of more than one element.
        """
        for name, value in scalars.items():
            if isinstance(value, torch.Tensor):
                if value.numel() != 1:
                    raise ArgumentError(f"{name} must be a number or a tensor of one element, got shape {tuple(value.shape)}")
                value = value.detach()
            self._curves.setdefault(name, []).append((self.now, value))

    def _look(self) -> None:
        lens = self._lens.again(initial=self._initial) if self.now else self._lens
        found = {}
        for quantity, options in self._quantities:
            if quantity.level == "network":
                found[quantity.name] = self._value(quantity, options, lens, None)
                continue
            together = _stacked(quantity, options, lens)
            found[quantity.name] = (
                [self._value(quantity, options, lens, layer) for layer in lens.layers] if together is None else together
            )
        # All at once, so that a look cut short by an interrupt leaves what was recorded whole.
        for name, value in found.items():
            self._values[name].append(value)
        self._steps.append(self.now)
        if self.sinks:
            numbers = self._numbers_of(found)
            for sink in self.sinks:
                sink(numbers, self.now)

    def _numbers_of(self, found: Mapping[str, Any]) -> dict[str, float]:
        """A look as flat names: ``quantity/layer`` or ``quantity``, with the curves noted at this step; only finite numbers."""
        flat: dict[str, float] = {}
        for name, values in found.items():
            numbers = np.atleast_1d(np.asarray(_numbers(values), dtype=float))
            layered = quantity_named(name).level == "layer"
            places = [f"{name}/{layer}" for layer in self._lens.layers] if layered else [name]
            flat |= dict(zip(places, numbers.tolist(), strict=True))
        for name, curve in self._curves.items():
            if curve[-1][0] == self.now:
                flat[name] = float(curve[-1][1])
        return {name: number for name, number in flat.items() if math.isfinite(number)}

    def _value(self, quantity: Quantity, options: Mapping[str, Any], lens: Lens, layer: str | None) -> Any:
        try:
            value = quantity.value(lambda need: lens.show(need, layer), **options)
        except TheodoliteError as error:
            self.reasons.setdefault(quantity.name if layer is None else f"{quantity.name} at {layer}", str(error))
            return float("nan")
        value = getattr(value, "value", value)
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            return value.detach().reshape(())
        if isinstance(value, (int, float, np.number)):
            return value
        self.reasons.setdefault(quantity.name, f"its value is not a single number but {type(value).__name__}")
        return float("nan")

    @property
    def data(self) -> xr.Dataset:
        """What was recorded: quantities over (step, layer), and per-step curves such as ``loss`` over ``<name>_step``."""
        import xarray as xr

        data = xr.Dataset(coords={"step": np.asarray(self._steps, dtype=np.int64), "layer": list(self._lens.layers)})
        for quantity, options in self._quantities:
            values = np.asarray([_numbers(v) for v in self._values[quantity.name]], dtype=np.float64)
            dims = ("step", "layer") if quantity.level == "layer" else ("step",)
            values = values.reshape([data.sizes[d] for d in dims])
            attrs = {"symbol": quantity.symbol, "about": quantity.summary, **{k: str(v) for k, v in options.items()}}
            data[quantity.name] = (dims, values, attrs)
        for name, curve in self._curves.items():
            dim = f"{name}_step"
            data = data.assign_coords({dim: np.asarray([s for s, _ in curve], dtype=np.int64)})
            data[name] = ((dim,), np.asarray([float(v) for _, v in curve], dtype=np.float64))
        return data

    @property
    def record(self) -> Record:
        """The same as a `Record`, to save or to draw from."""
        settings = {
            "model": type(self._lens.model).__name__,
            "quantities": {quantity.name: canonical(options) for quantity, options in self._quantities},
            "when": self.when.name,
        }
        more = {"seconds": time.perf_counter() - self._start, "reasons": self.reasons}
        return Record("track", settings, self.data, provenance(**more))

    def plot(self, name: str, against: str | None = None) -> Figure:
        """A quantity over the steps, one line per layer; with ``against``, a curve such as ``loss`` on a second axis.

        Raises:
            UnknownNameError: a name that was not recorded.
        """
        from theodolite.draw.tracking import tracked

        data = self.data
        for wanted in (name, *([against] if against else [])):
            if wanted not in data:
                raise unknown("recorded name", wanted, [str(v) for v in data.data_vars])
        return tracked(data, name, against)

    def __repr__(self) -> str:
        names = ", ".join(q.name for q, _ in self._quantities)
        return f"Run({names}; {len(self._steps)} looks, {self.now} steps)"


def _stacked(quantity: Quantity, options: Mapping[str, Any], lens: Lens) -> torch.Tensor | None:
    """All layers of one shape in one call, by the law fn(stack) = stack(fn): (layers,); None where they must be taken one by one."""
    if len(lens.layers) < 2 or not all(NEEDS[need].array for need in quantity.needs):
        return None
    arguments: dict[str, Any] = {}
    try:
        for parameter, need in quantity.fill.items():
            shown = [lens.show(need, layer) for layer in lens.layers]
            if all(part is None for part in shown):
                arguments[parameter] = None
            elif len({(part.shape, part.dtype) for part in shown}) == 1:
                arguments[parameter] = torch.stack(shown)
            else:
                return None
        value = quantity.function(**arguments, **options)
    except (TheodoliteError, AttributeError):
        return None
    return value.detach() if isinstance(value, torch.Tensor) and value.shape == (len(lens.layers),) else None


def _numbers(values: Any) -> Any:
    """A look's values as floats; one transfer from the device for all layers."""
    if isinstance(values, torch.Tensor) and values.ndim == 1:
        return values.double().cpu().numpy()
    if isinstance(values, list):
        if values and all(isinstance(v, torch.Tensor) for v in values):
            return torch.stack([v.double() for v in values]).cpu().numpy()
        return [float(v) for v in values]
    return float(values)
