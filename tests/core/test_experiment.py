"""Experiments: names, keys, scales and settings."""

from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.core.experiment import EXPERIMENTS, Experiment
from theodolite.core.registry import experiment, experiments


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


def test_shared_settings_are_no_experiment_and_keep_their_meanings():
    before = set(EXPERIMENTS)

    @dataclass(frozen=True)
    class Shared(Experiment):
        """Settings.

        Attributes:
            width: hidden width,
                in neurons.
        """

        width: int = 3

    @dataclass(frozen=True)
    class Own(Shared):
        """Own.

        Attributes:
            steps: number of steps.
        """

        steps: int = 5

    assert set(EXPERIMENTS) == before
    assert Own.meanings() == {"width": "hidden width, in neurons.", "steps": "number of steps."}


def test_every_setting_has_a_meaning_and_nothing_else_has():
    for name, kind in experiments().items():
        assert set(kind.meanings()) == {field.name for field in fields(kind)}, name
