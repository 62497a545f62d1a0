"""Explanations of every registered name."""

import pytest

from theodolite.core.errors import UnknownNameError
from theodolite.core.registry import claims, experiments, quantities
from theodolite.report.explain import explain


@pytest.mark.parametrize("name", [*list(quantities())[:6], *list(experiments())[:4], *[c.name for c in claims()][:4]])
def test_every_kind_of_name(name):
    text = explain(name)
    assert text.startswith(name)
    assert "Paper: " in text


def test_a_misspelt_name_suggests():
    with pytest.raises(UnknownNameError, match="did you mean 'rank.staircase'"):
        explain("rank.staircse")
