"""Experiments: names, keys, scales and settings."""

from dataclasses import FrozenInstanceError

import pytest

from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.core.registry import experiment


def test_equal_settings_have_equal_keys():
    kind = experiment("rank.staircase")
    assert kind().key == kind().key
    assert kind(seeds=6).key != kind().key


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        experiment("rank.staircase")().seeds = 3


def test_scales():
    kind = experiment("rank.staircase")
    assert kind.with_settings("small").steps == kind.small["steps"]
    assert kind.with_settings("small", steps=7).steps == 7
    with pytest.raises(ArgumentError, match="'paper' or 'small'"):
        kind.with_settings("huge")


def test_misspelt_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'rank.staircase'"):
        experiment("rank.stairs_case")
    with pytest.raises(UnknownNameError, match="did you mean 'seeds'"):
        experiment("rank.staircase").with_settings(seed=3)
