"""Maps through a ReLU and a dense layer: equal to the plain product for every pattern, however few of them differ."""

import numpy as np
import pytest

from theodolite.maths.affinemaps import masked_affine, masked_gather
from theodolite.theory.piecewise.cells import UNIT


def batch(generator, n, count, flips):
    """Maps of a few parents, and rows whose patterns differ in ``flips`` places from one to the next."""
    maps = generator.normal(size=(5, 3, n)) * 10.0 ** generator.uniform(-3, 3, size=(5, 3, n))
    parents = np.sort(generator.integers(0, 5, count))
    bits = np.zeros((count, n), np.uint8)
    for r in range(count):
        bits[r] = bits[r - 1]
        bits[r, generator.integers(0, n, flips)] ^= 1
    return maps, parents, bits


@pytest.mark.parametrize("flips", [0, 1, 3, 40])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (24, 7), (25, 1), (33, 5), (64, 64), (200, 3)])
def test_corrections_are_the_product(n, m, flips):
    generator = np.random.default_rng([n, m, flips])
    maps, parents, bits = batch(generator, n, 300, flips)
    weight, bias = generator.normal(size=(m, n)), generator.normal(size=m)
    found = masked_affine(maps, parents, bits, weight.T.copy(), bias)
    masked = maps[parents] * bits[:, None, :]
    assert np.array_equal(masked_gather(maps, parents, bits), masked)
    expected = (masked.astype(np.longdouble) @ weight.T.astype(np.longdouble)).copy()
    expected[:, -1] += bias
    scale = np.abs(maps[parents]) @ np.abs(weight).T  # of any pattern
    scale[:, -1] += np.abs(bias)
    assert found.shape == (300, 3, m)
    assert (np.abs(found - expected) <= (2 * n + 2) * UNIT * scale).all()


def test_nothing_comes_of_no_rows():
    found = masked_affine(np.ones((1, 2, 30)), np.zeros(0, np.int64), np.zeros((0, 30), np.uint8), np.ones((30, 4)), np.ones(4))
    assert found.shape == (0, 2, 4)


def test_corrections_do_not_pile_up():
    """A walk of ten thousand corrections stays as near as the first."""
    generator = np.random.default_rng(0)
    maps, parents, bits = batch(generator, 64, 10_000, 2)
    weight = generator.normal(size=(4, 64))
    found = masked_affine(maps, parents, bits, weight.T.copy(), np.zeros(4))
    exact = (maps[parents] * bits[:, None, :]) @ weight.T
    error = np.abs(found - exact).max(axis=(1, 2))
    assert error[-1000:].max() <= 10 * error[:1000].max()
