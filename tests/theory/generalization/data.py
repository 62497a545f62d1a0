"""Data sets of the implicit-bias tests."""

import numpy as np

#: Two support vectors that are no mirror images of each other, and what follows for them.
SUPPORT = np.array([[1.0, 0.3], [0.2, 1.5]])
W_HAT = np.array([5 / 6, 5 / 9])
ALPHA = np.array([0.790895, 0.212191])


def asymmetric(seed: int = 0, others: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The two support vectors, other points beyond margin 1.5, and labels of both signs."""
    rng = np.random.default_rng(seed)
    points = list(SUPPORT)
    while len(points) < 2 + others:
        p = rng.normal(size=2) * 3
        if p @ W_HAT > 1.5:
            points.append(p)
    z = np.array(points)
    y = np.where(np.arange(len(z)) % 2, -1, 1)
    return z * y[:, None], y
