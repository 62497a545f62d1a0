"""Strict JSON."""

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.report.explorer.payload import plain, rounded, strict_json


def test_no_value_of_numpy_or_python_leaves_json():
    value = {"a": np.array([[1.0, np.nan], [np.inf, -np.inf]]), "b": (np.int32(2), np.bool_(True), None, "ü<"), 3: 1.5}
    text = strict_json(value)

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == {"a": [[1.0, None], ["inf", "-inf"]], "b": [2, True, None, "ü<"], "3": 1.5}


@pytest.mark.parametrize("value", [object(), 1j, {1, 2}, b"x"])
def test_what_has_no_form_is_refused(value):
    with pytest.raises(TypeError, match="no form"):
        plain(value)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(2, 7))
def test_rounding_is_to_significant_digits(value, digits):
    if value and not 1e-290 < abs(value) < 1e290:
        return
    expected = float(f"{Decimal(value):.{digits - 1}e}") if value else 0.0
    got = float(rounded(value, digits))
    # A decimal exactly between two neighbours may go either way.
    step = 10.0 ** (np.floor(np.log10(abs(value))) - digits + 1) if value else 0.0
    # Beyond 10^22 powers of ten are no floats, so that the decimal is met to a few ulps.
    slack = 1e-9 * step + 4 * np.finfo(float).eps * abs(value)
    assert abs(got - expected) <= slack or abs(abs(got - expected) - step) <= slack
    assert abs(got - value) <= 0.5 * step + slack


def test_rounding_shortens_what_is_sent():
    x = np.random.default_rng(0).normal(size=1000)
    assert max(len(str(v)) for v in rounded(x, 4).tolist()) <= len("-0.0001234")
