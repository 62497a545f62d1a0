"""Orientations, amplitudes, distances, entropies and counts."""

import numpy as np
import pytest
import torch

from theodolite.core.errors import ArgumentError, TheodoliteWarning
from theodolite.theory.condensation import (
    amplitude,
    cosine_similarity_matrix,
    count_directions,
    orientation,
    orientation_entropy,
    relative_distance,
    similarity_order,
)


def clusters(angles, each, spread, seed=0):
    rng = np.random.default_rng(seed)
    theta = np.repeat(np.radians(angles), each) + spread * rng.normal(size=len(angles) * each)
    return np.stack([np.cos(theta), np.sin(theta)], 1) * rng.uniform(0.5, 2, size=(len(theta), 1))


def test_orientation_in_the_plane_and_beyond():
    w = np.array([[1.0, 0.0], [-1.0, 0.0], [-1.0, -0.0], [0.0, 1.0], [0.0, -3.0], [-1.0, -1.0]])
    assert np.degrees(orientation(w)).tolist() == pytest.approx([0, 180, 180, 90, -90, -135])
    rows = np.random.default_rng(0).normal(size=(4, 5))
    assert np.linalg.norm(orientation(rows), axis=1) == pytest.approx(1)
    assert isinstance(orientation(torch.from_numpy(rows)), torch.Tensor)


def test_orientation_keeps_its_digits_near_the_axis():
    angle = np.array([1e-9, np.pi - 1e-9])
    found = orientation(np.stack([np.cos(angle), np.sin(angle)], 1))
    assert found == pytest.approx(angle, abs=1e-16)


def test_amplitude():
    rng = np.random.default_rng(1)
    w, a = rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 4, 7))
    expected = np.sqrt((a**2).sum(1)) * np.sqrt((w**2).sum(2))
    assert amplitude(w, a) == pytest.approx(expected)
    assert amplitude(w[0], a[0, 0]) == pytest.approx(np.abs(a[0, 0]) * np.sqrt((w[0] ** 2).sum(1)))
    assert amplitude(np.ones((1, 2)), np.array([[2.0]])) == pytest.approx([2 * np.sqrt(2)])  # width 1
    with pytest.raises(ArgumentError, match="one column per neuron"):
        amplitude(w[0], a[0, :, :-1])


def test_cosine_matrix_is_symmetric_with_unit_diagonal():
    w = np.random.default_rng(2).normal(size=(3, 20, 4))
    c = cosine_similarity_matrix(w)
    assert np.array_equal(c, np.swapaxes(c, -1, -2))
    assert np.array_equal(np.diagonal(c, axis1=-2, axis2=-1), np.ones((3, 20)))
    assert c[1, 3, 5] == pytest.approx(w[1, 3] @ w[1, 5] / np.linalg.norm(w[1, 3]) / np.linalg.norm(w[1, 5]))


def test_similarity_order_puts_condensed_neurons_together():
    w = np.array([[1.0, 0], [-1, 0.01], [1, 0.02], [-1, 0], [1, 0.01], [-1, 0.02]])
    order = similarity_order(cosine_similarity_matrix(w))
    signs = np.sign(w[order, 0])
    assert abs(np.diff(signs)).sum() == 2  # one change of sign


@pytest.mark.parametrize("function", [orientation, cosine_similarity_matrix])
def test_zero_rows_have_no_orientation(function):
    with pytest.raises(ArgumentError, match="index \\(1,\\)"):
        function(np.array([[1.0, 2.0], [0.0, 0.0]]))


def test_relative_distance():
    rng = np.random.default_rng(3)
    w, w0 = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 6, 2))
    expected = np.linalg.norm((w - w0).reshape(4, -1), axis=1) / np.linalg.norm(w0.reshape(4, -1), axis=1)
    assert relative_distance(w, w0) == pytest.approx(expected)
    with pytest.raises(ArgumentError, match="zero"):
        relative_distance(w[0], np.zeros((6, 2)))


def test_float32_under_its_resolution():
    w0 = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    with pytest.warns(TheodoliteWarning, match="below the resolution of float32"):
        relative_distance(w0 * (1 + 1e-7), w0)
    assert relative_distance(w0, w0) == 0  # the start itself is exact
    assert relative_distance(w0.double() * (1 + 1e-9), w0.double()) == pytest.approx(1e-9, rel=1e-6)


def test_entropy():
    uniform = clusters(np.arange(0, 360, 5), 1, 0.0)
    assert orientation_entropy(uniform, np.ones(72)) == pytest.approx(1)
    assert orientation_entropy(clusters([20], 30, 0.0)) == pytest.approx(0, abs=1e-12)  # bins are centred on multiples of 5°
    assert orientation_entropy(clusters([21, 201], 30, 0.0), np.ones(60)) == pytest.approx(np.log(2) / np.log(72))
    assert orientation_entropy(np.eye(5), np.ones(5)) == pytest.approx(1)
    assert orientation_entropy(np.array([[1.0, 2, 3], [-2, -4, -6]])) == pytest.approx(0, abs=1e-12)
    stack = np.stack([uniform, uniform[::-1] * 2])
    assert orientation_entropy(stack) == pytest.approx([orientation_entropy(part) for part in stack])
    with pytest.raises(ArgumentError, match="non-zero"):
        orientation_entropy(np.zeros((3, 2)))
    with pytest.raises(ArgumentError, match="negative"):
        orientation_entropy(uniform, -np.ones(72))


@pytest.mark.parametrize("angles", [[30], [30, 210], [10, 100, 190, 280], [15, 66, 127, 195, 246, 307]])
def test_count_in_the_plane(angles):
    found = count_directions(clusters(angles, 40, 0.02))
    assert found.directions == len(angles)
    assert found.lines == len({round((a % 180) / 4) for a in angles})
    assert found.coverage == pytest.approx(1)
    assert found.concentration > 0.999
    assert found.mass.sum() == pytest.approx(found.coverage)
    assert found.condensed
    assert found.stable


def test_count_on_the_sphere_with_amplitudes():
    rng = np.random.default_rng(0)
    u = np.vstack([np.tile(row, (30, 1)) for row in np.vstack([np.eye(6)[:3], -np.eye(6)[:1]])])
    found = count_directions(u + 0.01 * rng.normal(size=u.shape))
    assert (found.directions, found.lines) == (4, 3)
    heavy = np.repeat([1.0, 1.0, 1e-4, 1e-4], 30)
    assert count_directions(u, heavy).directions == 2


def test_dust_and_zero_rows_do_not_count():
    w = np.vstack([clusters([40], 50, 0.01), np.zeros((5, 2)), 1e-6 * clusters([200, 250], 5, 0.1)])
    found = count_directions(w)
    assert found.directions == 1
    assert found.coverage > 0.999


def test_a_random_layer_is_not_condensed():
    for seed, shape in enumerate([(1000, 2), (300, 2), (400, 6), (100, 50)]):
        assert not count_directions(np.random.default_rng(seed).normal(size=shape)).condensed


def test_coverage_counts_retained_modes_only():
    w = np.vstack([clusters([0], 90, 0.001), clusters([60, 120, 180, 240, 300], 1, 0.0)])
    found = count_directions(w, np.concatenate([np.full(90, 1.0), np.full(5, 1.0)]))
    assert found.directions == 1  # each stray neuron carries 1/95, below 2 %
    assert found.coverage == pytest.approx(90 / 95)


def test_width_one_and_bad_bandwidth():
    assert count_directions(np.array([[3.0, 4.0]])).directions == 1
    with pytest.raises(ArgumentError, match="bandwidth_deg"):
        count_directions(np.eye(2), None, 90)
    with pytest.raises(ArgumentError, match="non-zero"):
        count_directions(np.zeros((3, 2)))
    with pytest.raises(ArgumentError, match="must be finite"):
        count_directions(np.array([[np.nan, 1.0]]))


def test_large_layers_are_sampled():
    found = count_directions(clusters([10, 130, 250], 3000, 0.02))
    assert found.directions == 3
    assert found.mass == pytest.approx(np.full(3, 1 / 3), abs=0.03)
