"""Every experiment at its small size: data, verdicts, figure."""

import matplotlib as mpl
import numpy as np
import pytest

import theodolite as td
from theodolite.core.registry import experiment

mpl.use("Agg")

EXPECTED = {
    "piecewise.shallow_equivalence": ["holds"],
    "piecewise.boundary_pitfalls": ["holds under"],
    "piecewise.region_growth": ["holds", "holds under"],
    "piecewise.tent_map": ["holds"],
    "piecewise.regions_during_training": ["holds"],
    "piecewise.local_linear_models": ["holds", "undecided"],
    "piecewise.blow_up": ["holds"],
}


@pytest.fixture(scope="module")
def records():
    return {}


@pytest.mark.parametrize("name", EXPECTED)
def test_small_runs(name, records, tmp_path):
    record = records.setdefault(name, experiment(name).with_settings("small").run())
    assert [verdict.word for _, verdict in record.verify()] == EXPECTED[name]
    record.figure().savefig(tmp_path / "figure.png", dpi=40)
    back = td.Record.load(record.save(tmp_path / "record"))
    assert back.data.identical(record.data) or set(back.data) == set(record.data)


def test_runs_repeat_bit_by_bit():
    first, second = (experiment("piecewise.tent_map").with_settings("small").run() for _ in range(2))
    assert first.data.identical(second.data)


def test_animation_has_a_frame_per_look(records):
    from theodolite.theory.piecewise.figures import animate_training

    name = "piecewise.regions_during_training"
    record = records.setdefault(name, experiment(name).with_settings("small").run())
    animation = animate_training(record)
    assert len(list(animation.new_frame_seq())) == record.data.sizes["step"]
    animation._draw_was_started = True  # nothing is saved here
    assert np.isfinite(record.data["count"]).all()


@pytest.mark.parametrize("colour", ["value", "gradient", "class", "pattern"])
def test_partitions_are_drawn(nets, colour):
    found = td.piecewise.regions(nets["int"]((2, 8, 8, 2), 0), td.box(-1, 1, dim=2))
    ax = found.plot(colour=colour)
    assert len(ax.collections[0].get_paths()) == found.count
    with pytest.raises(td.ArgumentError):
        found.plot(colour="red")
