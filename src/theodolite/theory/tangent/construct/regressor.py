"""Kernel regression with tangent kernels, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from theodolite.core.errors import ArgumentError
from theodolite.theory.tangent.infinite import infinite_kernels
from theodolite.theory.tangent.predict.dynamics import training_dynamics

__all__ = ["KernelRegressor"]


class KernelRegressor(RegressorMixin, BaseEstimator):
    """The function that a network with a constant kernel learns by time t, f_t(x) = Θ(x, X)(Θ + ridge)⁻¹(I − E) y.

    See `theodolite.tangent.kernel_regressor` for the parameters.
    """

    def __init__(
        self,
        kernel: Any = "ntk",
        *,
        depth: int = 1,
        activation: Any = "relu",
        sigma_w2: float = 2.0,
        sigma_b2: float = 0.1,
        learning_rate: float = 1.0,
        t: float = np.inf,
        method: str = "flow",
        ridge: float = 0.0,
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.sigma_w2 = sigma_w2
        self.sigma_b2 = sigma_b2
        self.learning_rate = learning_rate
        self.t = t
        self.method = method
        self.ridge = ridge

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = isinstance(self.kernel, str) and self.kernel == "precomputed"
        tags.target_tags.multi_output = True
        return tags

    def _gram(self, x1: np.ndarray, x2: np.ndarray | None) -> np.ndarray:
        if isinstance(self.kernel, str) and self.kernel == "precomputed":
            return x1
        if isinstance(self.kernel, str) and self.kernel in ("ntk", "nngp"):
            settings = {"depth": self.depth, "activation": self.activation, "sigma_w2": self.sigma_w2, "sigma_b2": self.sigma_b2}
            return np.asarray(getattr(infinite_kernels(x1, x2, **settings), self.kernel))
        if hasattr(self.kernel, "parameters"):  # a module: the empirical kernel, summed over its outputs
            from theodolite.lens.kernel import tangent_kernel

            return np.asarray(tangent_kernel(self.kernel, x1, x2, outputs="trace"))
        if callable(self.kernel):
            return np.asarray(self.kernel(x1, x1 if x2 is None else x2), dtype=np.float64)
        raise ArgumentError(f"kernel must be 'ntk', 'nngp', 'precomputed', a module or a callable (x1, x2), got {self.kernel!r}")

    def fit(self, X: Any, y: Any) -> Self:
        """Store the training inputs and their kernel's action.

        Args:
            X: ``(N, d)`` inputs, or the ``(N, N)`` kernel for ``kernel="precomputed"``.
            y: ``(N,)`` or ``(N, K)`` targets.

        Returns:
            The estimator.

        Raises:
            ArgumentError: a negative ridge, or an unknown kernel.
        """
        if self.ridge < 0:
            raise ArgumentError(f"ridge must not be negative, got {self.ridge}")
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        gram = self._gram(X, None)
        self.X_fit_, self.y_fit_ = X, np.asarray(y, dtype=np.float64)
        self.gram_ = gram + self.ridge * np.eye(len(gram))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Outputs at time t.

        Args:
            X: ``(M, d)`` inputs, or the ``(M, N)`` kernel with the training inputs for ``kernel="precomputed"``.

        Returns:
            ``(M,)`` or ``(M, K)``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        found = training_dynamics(
            self.gram_,
            self.y_fit_,
            kernel_test=self._gram(X, self.X_fit_),
            learning_rate=self.learning_rate,
            t=self.t,
            method=self.method,  # type: ignore[arg-type]
        )
        return np.asarray(found.test)
