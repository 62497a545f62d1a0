"""Settings take what their defaults say, for every experiment of the registry."""

import dataclasses

import numpy as np
import pytest

from theodolite.core.errors import ArgumentError
from theodolite.core.registry import experiments
from theodolite.core.settings import fitting

EXPERIMENTS = experiments()


@pytest.mark.parametrize(
    ("value", "default", "kept"),
    [
        ([1, 2], (3,), (1, 2)),
        (range(3), (3, 4), (0, 1, 2)),
        (np.array([0.5, 1.0]), (0.1,), (0.5, 1.0)),
        (7, (3,), (7,)),
        ("tanh", ("relu",), ("tanh",)),
        (np.int64(4), 2, 4),
        (4.0, 2, 4),
        (2, 0.5, 2),
        (True, False, True),
        (None, None, None),
    ],
)
def test_what_fits(value, default, kept):
    found = fitting("widths", value, default)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("value", "default", "rule"),
    [
        ((), (3,), "at least one value"),
        ((1, "a"), (3,), "a whole number"),
        ((1.5,), (3,), "a whole number"),
        (("a",), (0.5,), "a number"),
        ((32, 64), 8, "a whole number"),
        (2.5, 8, "a whole number"),
        (True, 8, "a whole number"),
        ("fast", 0.5, "a number"),
        (1, True, "True or False"),
    ],
)
def test_what_does_not(value, default, rule):
    with pytest.raises(ArgumentError, match=f"widths must be {rule}"):
        fitting("widths", value, default)


def test_seeds_are_a_number_of_seeds_or_the_seeds():
    assert fitting("seeds", 3, (0,)) == fitting("seeds", range(3), (0,)) == (0, 1, 2)
    assert fitting("seeds", (5, 2), (0,)) == (5, 2)
    assert fitting("seeds", [0, 1], 8) == 2
    for value, default in (((5, 2), 8), ((), 8), (0, (0,)), (1.5, (0,)), (1.5, 8)):
        with pytest.raises(ArgumentError, match="seeds must be"):
            fitting("seeds", value, default)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_refuses_settings_of_another_kind(name):
    kind = EXPERIMENTS[name]
    assert "scale" not in {field.name for field in dataclasses.fields(kind)}  # that word chooses between paper and small size
    checked = 0
    for field in dataclasses.fields(kind):
        if "|" in str(field.type) or isinstance(field.default, (str, bool)) or field.default is None:
            continue
        with pytest.raises(ArgumentError, match=f"{field.name} must be"):
            kind.with_settings("small", **{field.name: () if isinstance(field.default, tuple) else ("x",)})
        checked += 1
    assert checked > 0
    assert kind.with_settings("paper").key == kind().key
