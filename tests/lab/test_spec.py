"""Specs: what is accepted, how cells are numbered, what counts as the same sweep."""

import json
from dataclasses import dataclass

import lab_cells
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.lab.layout import Layout
from theodolite.lab.spec import Spec, differences, experiment_class, shape_of, unfold


def saved(spec):
    return json.loads(json.dumps(spec.as_json()))


def test_cells_are_numbered_as_itertools_product_does():
    from itertools import product

    a, b = (0.5, 1.0, 2.0), range(4)
    spec = Spec.of(lab_cells.Product, {"a": a, "b": b}, {"scale": 3.0})
    assert [tuple(spec.cell(i).values()) for i in range(spec.cells)] == list(product(a, b))
    assert spec.build(5) == lab_cells.Product(1.0, 1, 3.0)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(lambda n: st.tuples(st.just(n), st.permutations(range(len(n)))))
)
@settings(max_examples=40, deadline=None)
def test_storage_order_is_a_permutation_with_the_last_axis_fastest(case):
    lengths, order = case
    layout = Layout(tuple(lengths), tuple(order), 2)
    indices = [layout.spec_index(s) for s in range(layout.cells)]
    grid = np.arange(layout.cells).reshape(lengths).transpose(order).ravel()
    assert indices == grid.tolist()
    assert [s for t in range(layout.tiles) for s in layout.span(t)] == list(range(layout.cells))


@pytest.mark.parametrize("values", [[0, 1, 2], (0, 1, 2), range(3), np.arange(3), torch.arange(3), iter([0, 1, 2])])
def test_equal_values_are_the_same_sweep_however_they_are_given(values):
    assert saved(Spec.of(lab_cells.Product, {"a": [1.0], "b": values}, {})) == saved(
        Spec.of("lab_cells:Product", {"a": np.array([1.0]), "b": range(3)}, {"scale": 1.0})
    )


def test_json_round_trip():
    spec = Spec.of(lab_cells.Product, {"a": np.linspace(0, 1, 7), "b": range(0, 10, 3)}, {"scale": 0.1})
    again = Spec.from_json(saved(spec))
    assert again.over == {"a": tuple(np.linspace(0, 1, 7)), "b": range(0, 12, 3)}
    assert saved(again) == saved(spec)


def test_a_changed_default_is_a_changed_sweep():
    @dataclass(frozen=True)
    class New(lab_cells.Product):
        scale: float = 2.0

    old = saved(Spec.of(lab_cells.Product, {"a": [1.0]}, {}))
    new = {**saved(Spec.of(New, {"a": [1.0]}, {})), "experiment": old["experiment"]}
    assert differences(old, new) == ["fixed.scale: 1.0 in the store, 2.0 asked for"]


def test_registered_names_and_misspellings():
    from theodolite.core.experiment import EXPERIMENTS, Experiment

    @dataclass(frozen=True)
    class TinyLabExperiment(Experiment):
        n: int = 1

        def measure(self):
            import xarray as xr

            return xr.Dataset({"n": self.n})

    try:
        name = TinyLabExperiment.name
        assert experiment_class(name) is TinyLabExperiment
        assert saved(Spec.of(name, {"n": [1]}, {}))["experiment"] == name
        with pytest.raises(UnknownNameError, match=name):
            experiment_class(name + "t")
    finally:
        del EXPERIMENTS[TinyLabExperiment.name]
    with pytest.raises(UnknownNameError, match="cannot be imported"):
        experiment_class("lab_cells:Nothing")
    with pytest.raises(UnknownNameError, match="did you mean 'scale'"):
        Spec.of(lab_cells.Product, {"a": [1.0]}, {"scales": 2.0})


@pytest.mark.parametrize(
    ("over", "fixed", "message"),
    [
        ({}, {}, "at least one axis"),
        ({"a": []}, {}, "at least one value"),
        ({"a": 1.0}, {}, r"\[1.0\]"),
        ({"a": "xyz"}, {}, "list of values"),
        ({"a": [1.0, 2.0, 1.0]}, {}, "more than once"),
        ({"a": [1, 1.0]}, {}, "more than once"),
        ({"a": [float("nan")]}, {}, "NaN"),
        ({"b": [1]}, {}, "value for a"),
        ({"a": [1.0]}, {"a": 2.0}, "axis and a fixed setting"),
    ],
)
def test_wrong_axes(over, fixed, message):
    with pytest.raises(ArgumentError, match=message):
        Spec.of(lab_cells.Product, over, fixed)


def test_wrong_classes():
    @dataclass
    class Thawed:
        a: int = 1

        def run(self):
            return {}

    @dataclass(frozen=True)
    class Idle:
        a: int = 1

    for wrong, message in ((Thawed, "frozen"), (Idle, "run"), (lab_cells.Product(1.0), "class"), (int, "frozen")):
        with pytest.raises(ArgumentError, match=message):
            experiment_class(wrong)


def test_axis_rules_of_spec_files():
    assert unfold([1, 2]) == [1, 2]
    assert unfold({"range": [3]}) == range(3)
    np.testing.assert_allclose(unfold({"logspace": [-1, 1, 3]}), [0.1, 1, 10], rtol=1e-12)
    with pytest.raises(ArgumentError, match="linspace"):
        unfold({"linspaces": [0, 1, 2]})


def test_shape_may_be_declared():
    @dataclass(frozen=True)
    class Net:
        width: int
        steps: int

        @property
        def shape(self):
            return self.width

    assert shape_of(Net(3, 1)) == shape_of(Net(3, 2)) != shape_of(Net(4, 1))
