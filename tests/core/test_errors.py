"""The error family: messages name the thing, and suggest the way out."""

import pytest

import theodolite as td
from theodolite.core import errors


def test_all_errors_are_of_one_family():
    kinds = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(kinds) >= 8
    assert all(issubclass(kind, td.TheodoliteError) for kind in kinds)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("rank.epsilonrank", "rank.epsilon_rank"), ("epsilon_rank", "rank.epsilon_rank"), ("meanfeild.chi_1", "meanfield.chi_1")],
)
def test_nearest_names_come_first(given, expected):
    assert errors.nearest(given, ["rank.epsilon_rank", "meanfield.chi_1", "tangent.ntk"])[0] == expected


def test_a_hopeless_name_lists_what_is_known():
    message = str(errors.unknown("topic", "zzzz", ["rank", "pde"]))
    assert "'zzzz'" in message
    assert "pde, rank" in message


def test_missing_extra_tells_the_pip_line():
    with pytest.raises(td.MissingExtraError, match=r"pip install 'theodolite\[onnx\]'"):
        errors.require_extra("surely_not_installed", "onnx")
