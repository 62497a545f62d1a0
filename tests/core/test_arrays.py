"""Plain arrays in and out."""

import numpy as np
import pytest
import torch

from theodolite.core.arrays import as_float64, as_given, check_finite, on_host
from theodolite.core.errors import ArgumentError


def test_everything_becomes_float64():
    for value in (1, [1.0, 2.0], np.float32([1, 2]), torch.ones(2, dtype=torch.float16)):
        assert as_float64(value, "v").dtype == torch.float64


def test_autograd_passes_through():
    x = torch.ones(3, dtype=torch.float32, requires_grad=True)
    as_float64(x, "x").sum().backward()
    assert torch.equal(x.grad, torch.ones(3))


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (torch.ones(2, 2, dtype=torch.int64), "floating point"),
        (np.ones((2, 2), dtype=int), "floating point"),
        (torch.ones(2, dtype=torch.complex64), "real"),
        (torch.tensor([[1.0, float("nan")]]), r"finite, got nan at index \(0, 1\)"),
        (torch.tensor([float("inf"), 1.0]), r"finite, got inf at index \(0,\)"),
    ],
)
def test_bad_values_are_named(value, rule):
    with pytest.raises(ArgumentError, match=f"features must be {rule}"):
        as_float64(value, "features")


def test_ranks_are_checked():
    with pytest.raises(ArgumentError, match="2 dimensions"):
        as_float64(torch.ones(3), "w", ndim=2)
    with pytest.raises(ArgumentError, match="at least 2"):
        as_float64(torch.ones(3), "w", at_least=2)


def test_a_sum_that_overflows_is_not_taken_for_an_infinity():
    check_finite(torch.full((4,), torch.finfo(torch.float32).max), "x")


def test_numpy_comes_back_as_numpy():
    assert isinstance(as_given(torch.tensor(2.0), np.ones(1)), np.floating)
    assert isinstance(as_given(torch.ones(2), [1.0]), np.ndarray)
    assert isinstance(as_given(torch.ones(2), torch.ones(1), np.ones(1)), torch.Tensor)


def test_results_go_to_the_device_of_the_first_tensor():
    found = as_given(torch.ones(2), np.ones(2), torch.empty(2, device="meta"), torch.ones(2))
    assert found.device.type == "meta"
    assert as_float64([1.0], "v", finite=False, device="meta").device.type == "meta"


def test_tensors_are_read_on_the_host():
    assert on_host(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]
    assert on_host([1.0, 2.0]) == [1.0, 2.0]


@pytest.mark.parametrize("value", ["abc", None, [[1.0], [1.0, 2.0]]])
def test_what_is_no_array_is_named(value):
    with pytest.raises(ArgumentError, match="features must be"):
        as_float64(value, "features")
