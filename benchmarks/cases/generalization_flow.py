"""Gradient descent on separable data to t = 1e100 (real steps, then the flow) against 10⁶ plain steps.

The interpreted loops take 10⁵ of the 10⁶ steps and their times are multiplied by ten (a step costs the same early and late); all
weights are compared at t = 10⁵.
"""

from collections.abc import Callable

import numpy as np
import torch

from theodolite.theory.generalization import gradient_descent, gradient_flow
from theodolite.theory.generalization.experiments.implicit_bias import separable_set

STEPS, TAKEN = 10**6, 10**5
TITLE = (
    "implicit bias: 1000 real steps and the flow to t = 1e100, against 10⁶ plain gradient-descent steps (loops: 10⁵ timed, × 10)"
)
#: The flow and the discrete algorithm differ by their step, not by rounding.
TOLERANCE = 1e-4
GOALS = {"plain steps, numpy": 20.0, "plain steps, torch": 20.0}
SHARE = {"plain steps, numpy": TAKEN / STEPS, "plain steps, torch": TAKEN / STEPS}


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    x, y = separable_set("asymmetric")
    eta = 1 / float(np.linalg.norm(x, 2))
    z = x * y[:, None]
    # Quick: a tenth of everything, so that the shares stay what they are.
    steps, taken = (STEPS // 10, TAKEN // 10) if quick else (STEPS, TAKEN)

    def ours() -> np.ndarray:
        start = gradient_descent(x, y, [1000], learning_rate=eta).w[0]
        return gradient_flow(x, y, [taken - 1000, 1e100], rate=eta, w0=start).w[0]

    def compiled() -> np.ndarray:
        return gradient_descent(x, y, [taken, steps], learning_rate=eta).w[0]

    def numpy_loop() -> np.ndarray:
        w = np.zeros(2)
        for _ in range(taken):
            w = w + eta * (1 / (1 + np.exp(z @ w))) @ z
        return w

    def torch_loop() -> np.ndarray:
        data, w = torch.from_numpy(z), torch.zeros(2, dtype=torch.float64)
        for _ in range(taken):
            w = w + eta * torch.sigmoid(-(data @ w)) @ data
        return w.numpy()

    return {
        "theodolite": ours,
        "theodolite, all real steps (compiled)": compiled,
        "plain steps, numpy": numpy_loop,
        "plain steps, torch": torch_loop,
    }
