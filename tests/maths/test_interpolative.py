"""Strong rank-revealing QR: the guarantees it is chosen for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.core.errors import ArgumentError
from theodolite.maths.interpolative import interpolate


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_guarantees(seed, repeated):
    rng = np.random.default_rng(seed)
    rows, n = int(rng.integers(2, 50)), int(rng.integers(2, 25))
    p = int(rng.integers(0, n + 1))
    a = rng.normal(size=(rows, n)) @ np.diag(10.0 ** -rng.uniform(0, 6, n)) @ rng.normal(size=(n, n))
    if repeated:
        a[:, : n // 2] = a[:, n // 2 : 2 * (n // 2)]
    found = interpolate(a, p)
    assert sorted([*found.kept, *found.dropped]) == list(range(n))
    error = a[:, found.dropped] - a[:, found.kept] @ found.coefficients
    sigma = np.append(np.linalg.svd(a, compute_uv=False), np.zeros(n))
    assert found.growth <= 1 + 1e-9
    if p < n:
        assert np.linalg.norm(error, 2) <= np.sqrt(1 + p * (n - p)) * sigma[p] * (1 + 1e-8) + 1e-11 * sigma[0]
        b = rng.normal(size=(n - p, 2))
        assert np.linalg.norm(error @ b) == pytest.approx(np.linalg.norm(found.remainder @ b), rel=1e-8, abs=1e-10 * sigma[0])


def test_bad_arguments():
    for p, f in ((-1, 1.0), (4, 1.0), (1, 0.5)):
        with pytest.raises(ArgumentError):
            interpolate(np.eye(3), p, f)
