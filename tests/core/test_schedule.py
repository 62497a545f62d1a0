"""When to look."""

import pytest

from theodolite.core.errors import ArgumentError
from theodolite.core.schedule import as_schedule, every, log_spaced


def test_log_spacing_puts_equal_numbers_in_every_decade():
    looks = [s for s in log_spaced(10).looks(100_000) if s > 10]
    counts = [sum(10**k < s <= 10 ** (k + 1) for s in looks) for k in range(1, 5)]
    assert counts == [10, 10, 10, 10]


def test_first_and_last_steps_are_always_looked_at():
    assert every(7).looks(20) == [0, 7, 14, 20]
    assert as_schedule(lambda step: False).looks(3) == [0, 3]
    assert as_schedule([2]).looks(3) == [0, 2, 3]


@pytest.mark.parametrize("make", [every, log_spaced])
def test_zero_is_refused(make):
    with pytest.raises(ArgumentError, match="at least 1, got 0"):
        make(0)


@pytest.mark.parametrize("when", [7, "often", [0.5]])
def test_what_is_no_schedule_is_named(when):
    with pytest.raises(ArgumentError, match="when must be a schedule"):
        as_schedule(when)
