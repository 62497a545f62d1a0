"""Queries: what is allowed passes, everything else is refused with the reason."""

import pytest

from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.report.explorer.parameters import Choice, Edits, Number, Text, Whole, Wholes, parse

FIELDS = {
    "w": Number(0.1, 4.0, 1.5),
    "depth": Whole(1, 100, 16),
    "activation": Choice(("tanh", "relu"), "tanh"),
    "name": Text(10),
    "hidden": Wholes(1, 8, 1, 3, (5, 4)),
    "edits": Edits(20, 10.0),
}


def test_defaults_and_values():
    assert parse(FIELDS, []) == {"w": 1.5, "depth": 16, "activation": "tanh", "name": None, "hidden": (5, 4), "edits": ()}
    query = [("w", "2e-1"), ("depth", "7"), ("activation", "relu"), ("hidden", "3,8"), ("edits", "3:-0.5,0:1,3:2"), ("name", "x")]
    assert parse(FIELDS, query) == {
        "w": 0.2, "depth": 7, "activation": "relu", "name": "x", "hidden": (3, 8), "edits": ((0, 1.0), (3, 2.0)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("w", text)
            for text in ["", "nan", "inf", "-inf", "1e999", "4.0001", "0", "1_0", "٣", "0x1", "1;2", "__import__('os')", "9" * 41]
        ),
        *(("depth", text) for text in ["", "0", "101", "1.5", "1e2", "--1", "²", "9" * 13, "None"]),
        *(("hidden", text) for text in ["", "9", "0", "1,2,3,4", "1,,2", "1, 2"]),
        *(("edits", text) for text in ["1", "20:1", "1:11", "1:nan", "-1:0", "1:2:3", ",", "a:1"]),
        ("name", "x" * 11),
        ("w", "1" * 2001),
    ],
)
def test_what_breaks_a_rule_is_refused_and_named(name, text):
    with pytest.raises(ArgumentError, match=name):
        parse(FIELDS, [(name, text)])


def test_unknown_names_and_choices_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'depth'"):
        parse(FIELDS, [("dpeth", "3")])
    with pytest.raises(UnknownNameError, match="did you mean 'relu'"):
        parse(FIELDS, [("activation", "rleu")])
    with pytest.raises(ArgumentError, match="once"):
        parse(FIELDS, [("w", "1"), ("w", "2")])
