"""Diagnosis: every quantity that a model and its data allow, with resolution, theory, verdict and advice."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from theodolite.core.errors import TheodoliteError
from theodolite.core.measurement import Judgement, Measurement, Observation
from theodolite.core.quantity import Quantity
from theodolite.core.registry import quantities as all_quantities
from theodolite.core.registry import quantity_named
from theodolite.draw.progress import progress
from theodolite.lens import Lens, frozen
from theodolite.report.report import Profile, Report, Row

__all__ = ["diagnose"]

#: Needs whose cost grows with the square of samples × outputs; measured on a few samples unless the user gives few.
EXPENSIVE = frozenset({"tangent_kernel", "jacobian", "input_jacobian", "hvp", "model"})
#: Most samples × outputs for those.
PROBE = 256
#: Needs that take a backward pass per output, and the most outputs for which they are tried unasked.
PER_OUTPUT, MOST_OUTPUTS = frozenset({"tangent_kernel", "jacobian", "input_jacobian"}), 2048
#: Most outputs × samples × steps of recurrent layers for which a backward pass per output is taken unasked: some ten seconds.
MOST_STEPS = 30_000
#: Needs whose quantities compare the rows of a layer's weights, and the most weights for which they are tried unasked.
OF_WEIGHTS, MOST_WEIGHTS = frozenset({"weights", "amplitudes"}), 1_000_000
#: Largest matrix that a report keeps for its figures.
MOST_ENTRIES = 100_000


def diagnose(
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    quantities: Sequence[str] | Mapping[str, Mapping[str, Any]] | str | None = None,
    layers: str | Sequence[str] | None = None,
) -> Report:
    """Measure a network, put theory beside the measurements, and say what they mean. The model is left exactly as it was found.

    Args:
        model: any `torch.nn.Module`.
        x: inputs: a tensor or array, a tuple, a dict or a DataLoader (see `theodolite.Lens`).
        y: targets, for quantities of the loss.
        loss: ``loss(outputs, targets)``; default mean squared error for float targets, cross-entropy for integer ones.
        quantities: names, or a mapping name -> options; default all that the model and data allow.
        layers: globs of the layers to observe; default all post-activation outputs.

    Returns:
        A `Report`: prints as a table, saves as HTML, JSON or CSV.

    Raises:
        ArgumentError: bad data. ModelError: the model raised. UnknownNameError: a misspelt quantity or layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
        >>> report = diagnose(net, torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), quantities=["rank.epsilon_rank"])
        >>> [(row.quantity, row.layer) for row in report.rows]
        [('rank.epsilon_rank', '1')]
    """
    chosen = _chosen(quantities)
    with frozen(model):
        return _diagnosed(Lens(model, x, y, loss, layers=layers), chosen, explicit=quantities is not None)


def _diagnosed(lens: Lens, chosen: Sequence[tuple[Quantity, Mapping[str, Any]]], explicit: bool) -> Report:
    """The report of a frozen model; what was asked for by name has a row even where it cannot be measured."""
    probe = _probe(lens)
    rows: list[Row] = []
    profiles: list[Profile] = []
    skipped: dict[str, str] = {}
    for quantity, options in progress(chosen, "measuring"):
        source = probe if EXPENSIVE & set(quantity.needs) else lens
        where: Sequence[str | None] = source.layers if quantity.level == "layer" else [None]
        for layer in where:
            found = _measure(quantity, options, source, layer) if explicit else _affordable(quantity, options, source, layer)
            if isinstance(found, str):
                if explicit:
                    rows.append(_row(quantity, options, layer, Measurement(None, reason=found), source))
                else:
                    place = f"layer {layer}: " if layer is not None and layer not in found else ""
                    skipped.setdefault(quantity.name, place + found)
            elif isinstance(found, Profile) and found.values.size > MOST_ENTRIES:
                shape = " × ".join(map(str, found.values.shape))
                skipped.setdefault(
                    quantity.name, f"its value at {layer or 'the network'} is {shape} numbers, too many for a report"
                )
            elif isinstance(found, Profile):
                profiles.append(found)
            else:
                rows.append(_row(quantity, options, layer, found, source))
    return Report(
        model=type(lens.model).__name__,
        samples=lens.samples,
        layers=lens.layers,
        widths={name: int(lens.features[name].shape[1]) for name in lens.layers},
        entries={name: lens.role(name).entries for name in lens.layers},
        architecture=lens.architecture,
        rows=_most_important_first(rows),
        profiles=profiles,
        skipped=skipped,
        unseen=tuple(f"{n.label} in {n.module or 'the root module'}" for n in lens.graph.unknown()),
        probe=probe.samples,
    )


def _chosen(quantities: Any) -> list[tuple[Quantity, Mapping[str, Any]]]:
    if quantities is None:
        known = all_quantities().values()
        # What compares with the state before training has nothing to say about a single look.
        return [(q, {}) for q in known if not any(need.startswith("initial_") for need in q.needs)]
    if isinstance(quantities, str):
        quantities = [quantities]
    if isinstance(quantities, Mapping):
        chosen = [(quantity_named(name), options) for name, options in quantities.items()]
        for quantity, options in chosen:
            quantity.check_options(options)
        return chosen
    return [(quantity_named(name), {}) for name in quantities]


def _probe(lens: Lens) -> Lens:
    """The same lens on so few samples that quadratic quantities stay cheap."""
    try:
        outputs = lens.outputs.shape[1]
        x = lens.show("inputs")
    except TheodoliteError:
        return lens
    few = max(2, PROBE // max(1, outputs))
    if lens.samples <= few:
        return lens
    try:
        y = lens.show("labels")[:few]
    except TheodoliteError:
        y = None
    return Lens(lens.model, x[:few], y, lens.loss, layers=list(lens.layers))


def _affordable(quantity: Quantity, options: Mapping[str, Any], lens: Lens, layer: str | None) -> Measurement | Profile | str:
    """The measurement, unless it was not asked for by name and is dear: a backward pass per output, or pairs of many long rows."""
    incoming = None if layer is None else lens.layer(layer).incoming
    if OF_WEIGHTS & set(quantity.needs) and incoming is not None and lens.graph[incoming].rows.numel() > MOST_WEIGHTS:
        size = lens.graph[incoming].rows.numel()
        return f"layer {layer} has {size:,} weights, which takes long or fills memory; ask for the quantity by name to measure it"
    if PER_OUTPUT & set(quantity.needs) and lens.outputs.shape[1] > MOST_OUTPUTS:
        return (
            f"the model has {lens.outputs.shape[1]:,} outputs per sample, and this takes a backward pass for each; "
            "wrap the model to return a few of them, or ask for the quantity by name"
        )
    steps = _recurrent_steps(lens)
    work = lens.outputs.shape[1] * lens.samples * steps
    if (quantity.per_output or PER_OUTPUT & set(quantity.needs)) and work > MOST_STEPS:
        return (
            f"a backward pass for each of {lens.outputs.shape[1]:,} outputs of {lens.samples} samples goes through {steps:,} steps of "
            "recurrent layers, which takes long; give shorter sequences, or ask for the quantity by name"
        )
    return _measure(quantity, options, lens, layer)


def _recurrent_steps(lens: Lens) -> int:
    """Steps that one sample takes through the recurrent layers, one after the other; 0 without such layers."""
    rows = sum(math.prod(node.shape[:-1]) for node in lens.graph if node.kind == "recurrent")
    return rows // lens.calls[0].size


def _measure(quantity: Quantity, options: Mapping[str, Any], lens: Lens, layer: str | None) -> Measurement | Profile | str:
    """The measurement, or the reason why there is none."""
    try:
        found = quantity.measure(lambda need: lens.show(need, layer), **options)
    except (TheodoliteError, NotImplementedError) as error:
        return str(error)
    except Exception as error:  # the module's own code in a use it was not written for must not cost the other rows
        return f"{type(error).__name__}: {error}"
    value = found.value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.size != 1:
        return Profile(quantity.name, quantity.symbol, layer, np.asarray(value, dtype=float))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"its value is a {type(value).__name__}, which is not a number"
    return replace(found, value=number, low=_number(found.low), high=_number(found.high))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _most_important_first(rows: Sequence[Row]) -> list[Row]:
    """Quantities with bad news first, then those with advice, a verdict, or a prediction; each keeps its layers in order."""

    def rank(row: Row) -> tuple[int, float]:
        spoken = 0 if row.judgement.level == "bad" else 1 if row.advice else 2 if row.judgement.level == "good" else 3
        return (spoken if row.verdict or row.advice else 4), -row.judgement.severity

    best: dict[str, tuple[int, float]] = {}
    for row in rows:
        best[row.quantity] = min(best.get(row.quantity, (9, 0.0)), rank(row))
    return sorted(rows, key=lambda row: best[row.quantity])


def _row(quantity: Quantity, options: Mapping[str, Any], layer: str | None, measured: Measurement, lens: Lens) -> Row:
    facts = _facts(quantity, options, lens, layer)
    prediction = None if measured.value is None else _prediction(quantity, facts)
    judgement = _judge(quantity, measured, prediction, facts)
    return Row(
        quantity=quantity.name,
        symbol=quantity.symbol,
        layer=layer,
        measured=measured,
        prediction=prediction,
        judgement=judgement,
        reference=quantity.reference,
        samples=lens.samples,
    )


def _facts(quantity: Quantity, options: Mapping[str, Any], lens: Lens, layer: str | None) -> dict[str, Any]:
    """What a prediction or a judge may ask for: options, architecture and data; for a layer what `Role` says of it."""
    facts = dict(quantity.options) | dict(options) | lens.architecture.facts(layer)
    facts |= {"samples": lens.samples, "plain": lens.graph.plain, "classes": _has_classes(lens)}
    if layer is not None:
        facts |= {"layer": layer, "width": int(lens.features[layer].shape[1])} | lens.role(layer).facts()
        reader = lens.architecture.at(lens.layer(layer).outgoing)
        if reader is not None and "reading" in quantity.needs:  # it is about the weights behind the activation
            facts |= {"readers": reader.width, "sigma_w2": reader.sigma_w2, "sigma_b2": reader.sigma_b2}
    return facts


def _has_classes(lens: Lens) -> bool:
    """Whether the targets are class labels."""
    try:
        y = lens.show("labels")
    except TheodoliteError:
        return False
    return isinstance(y, torch.Tensor) and not y.is_floating_point()


def _prediction(quantity: Quantity, facts: Mapping[str, Any]) -> float | None:
    """The theory's value, when its required parameters can be filled from the facts."""
    predict = quantity.prediction()
    if predict is None or not facts["plain"]:  # the recursions are those of affine layers and activations
        return None
    parameters = inspect.signature(predict).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if any(facts.get(name) is None for name in required):
        return None
    try:
        value = predict(**{p.name: facts[p.name] for p in parameters if facts.get(p.name) is not None})
        number = float(getattr(value, "value", value))
    except (TheodoliteError, TypeError, ValueError, ArithmeticError):
        return None  # the theory does not speak of this architecture
    return number if math.isfinite(number) else None


def _judge(quantity: Quantity, measured: Measurement, prediction: float | None, facts: dict[str, Any]) -> Judgement:
    if measured.value is None:
        return Judgement("not measured", "", "note")
    if quantity.judge is not None:
        return quantity.judge(Observation(measured, prediction, facts))
    if prediction is None:
        return Judgement("", "", "note")
    gap = abs(measured.value - prediction) / max(abs(prediction), 1e-300)
    return Judgement("as predicted" if gap < 0.1 else f"{gap:.0%} off theory", "", "good" if gap < 0.1 else "note")
