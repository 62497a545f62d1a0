"""Maps through a ReLU or LeakyReLU and a dense layer: equal to the plain product for every pattern, however few of them differ."""

import numpy as np
import pytest

from theodolite.maths.affinemaps import sloped_affine, sloped_gather
from theodolite.theory.piecewise.cells import UNIT


def relu(n):
    """Its slopes."""
    return np.stack([np.zeros(n), np.ones(n)])


def batch(generator, n, count, flips):
    """Maps of a few parents, and rows whose patterns differ in ``flips`` places from one to the next."""
    maps = generator.normal(size=(5, 3, n)) * 10.0 ** generator.uniform(-3, 3, size=(5, 3, n))
    parents = np.sort(generator.integers(0, 5, count))
    bits = np.zeros((count, n), np.uint8)
    for r in range(count):
        bits[r] = bits[r - 1]
        bits[r, generator.integers(0, n, flips)] ^= 1
    return maps, parents, bits


@pytest.mark.parametrize("below", [0.0, 0.01, -1.0, None])
@pytest.mark.parametrize("flips", [0, 1, 3, 40])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (24, 7), (25, 1), (33, 5), (64, 64), (200, 3)])
def test_corrections_are_the_product(n, m, flips, below):
    generator = np.random.default_rng([n, m, flips])
    maps, parents, bits = batch(generator, n, 300, flips)
    weight, bias = generator.normal(size=(m, n)), generator.normal(size=m)
    slopes = np.stack([np.full(n, below), np.ones(n)]) if below is not None else np.sort(generator.uniform(size=(2, n)), axis=0)
    found = sloped_affine(maps, parents, bits, slopes, weight.T.copy(), bias)
    sloped = maps[parents] * np.where(bits, slopes[1], slopes[0])[:, None, :]
    assert np.array_equal(sloped_gather(maps, parents, bits, slopes), sloped)
    expected = (sloped.astype(np.longdouble) @ weight.T.astype(np.longdouble)).copy()
    expected[:, -1] += bias
    scale = np.abs(maps[parents]) @ np.abs(weight).T  # of any pattern
    scale[:, -1] += np.abs(bias)
    assert found.shape == (300, 3, m)
    assert (np.abs(found - expected) <= (2 * n + 3) * UNIT * scale).all()


def test_nothing_comes_of_no_rows():
    found = sloped_affine(
        np.ones((1, 2, 30)), np.zeros(0, np.int64), np.zeros((0, 30), np.uint8), relu(30), np.ones((30, 4)), np.ones(4)
    )
    assert found.shape == (0, 2, 4)


def errors(maps, parents, bits, weight):
    """Of the corrected maps and of the plain product, by row, from a product in extended precision."""
    masked = maps[parents] * bits[:, None, :]
    exact = masked.astype(np.longdouble) @ weight.T.astype(np.longdouble)
    found = sloped_affine(maps, parents, bits, relu(bits.shape[1]), weight.T.copy(), np.zeros(len(weight)))
    return (np.abs(values - exact).max(axis=(1, 2)).astype(float) for values in (found, masked @ weight.T))


def walk(generator, n, count):
    """Patterns that differ in two places from one to the next."""
    bits = generator.integers(0, 2, (count, n)).astype(np.uint8)
    for r in range(1, count):
        bits[r] = bits[r - 1]
        bits[r, generator.integers(0, n, 2)] ^= 1
    return bits


def test_corrections_do_not_pile_up():
    """Ten thousand rows of one parent are hardly less accurate than so many products."""
    generator = np.random.default_rng(0)
    maps, weight = generator.normal(size=(1, 3, 64)), generator.normal(size=(4, 64))
    corrected, multiplied = errors(maps, np.zeros(10_000, np.int64), walk(generator, 64, 10_000), weight)
    assert corrected.max() <= 8 * multiplied.max()


@pytest.mark.parametrize("scale", [1e3, 1e8, 1e13])
def test_a_steep_neuron_that_is_off_leaves_nothing_behind(scale):
    generator = np.random.default_rng(1)
    maps, weight, bits = generator.normal(size=(1, 3, 64)), generator.normal(size=(4, 64)), walk(generator, 64, 2000)
    maps[:, :, 7] *= scale
    corrected, multiplied = errors(maps, np.zeros(2000, np.int64), bits, weight)
    off = bits[:, 7] == 0
    assert 100 < off.sum() < 1900
    assert corrected[off].max() <= 30 * multiplied[off].max()


def test_neither_do_a_ladder_of_them_nor_those_of_other_outputs():
    generator = np.random.default_rng(3)
    maps, weight, bits = generator.normal(size=(1, 3, 64)), generator.normal(size=(2, 64)), np.ones((13, 64), np.uint8)
    ladder = maps.copy()
    ladder[:, :, :12] *= 8.0 ** np.arange(12, 0, -1)
    for k in range(1, 13):
        bits[k:, k - 1] = 0  # the heaviest goes first
    corrected, multiplied = errors(ladder, np.zeros(13, np.int64), bits, weight)
    assert corrected[-1] <= 30 * multiplied.max() / 8**12 + 1e-14
    weight[:, [3, 7]] = np.diag([1e9, 1e9])
    bits = np.ones((2, 64), np.uint8)
    bits[1, 3] = 0
    found = sloped_affine(maps, np.zeros(2, np.int64), bits, relu(64), weight.T.copy(), np.zeros(2))
    expected = (maps[[0, 0]] * bits[:, None, :]) @ weight.T
    assert np.abs(found[1, :, 0] - expected[1, :, 0]).max() < 1e-13


def test_what_is_off_altogether_is_nothing():
    generator = np.random.default_rng(2)
    bits = np.eye(40, dtype=np.uint8)[np.repeat(np.arange(40), 2)]
    bits[1::2] = 0
    found = sloped_affine(
        generator.normal(size=(1, 2, 40)), np.zeros(80, np.int64), bits, relu(40), generator.normal(size=(40, 5)), np.ones(5)
    )
    assert (found[1::2, 0] == 0).all()
    assert (found[1::2, 1] == 1).all()
