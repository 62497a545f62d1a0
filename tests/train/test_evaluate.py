"""Evaluation by sorted breakpoints and by the compiled kernel against the plain forward pass."""

import numpy as np
import pytest
import torch

from theodolite.nets import ACTIVATIONS
from theodolite.train import Ensemble, Gaussian, MLPSpec
from theodolite.train.evaluate import evaluate, evaluate_blocks
from theodolite.train.kernels.piecewise import PIECES, sorted_outputs


def plain(ensemble, x):
    return torch.stack([ensemble.member(e)(x).detach() for e in range(len(ensemble))])


@pytest.mark.parametrize("activation", sorted(PIECES))
def test_sorted_breakpoints_are_exact(activation):
    stream = np.random.default_rng(1)
    w, b, a = stream.normal(size=(3, 2, 60))
    w[:, :5] = 0  # neurons that do not see the input
    b[:, 5:8] = 0
    x = np.concatenate([stream.uniform(-3, 3, 500), [0.0, 1e6, -1e6], -b[0, 8:20] / w[0, 8:20]])
    z = torch.from_numpy(w[:, :, None] * x + b[:, :, None])
    want = (torch.from_numpy(a)[:, :, None] * ACTIVATIONS[activation](z)).sum(1).numpy()
    # Far outside the breakpoints a saturating activation is a difference of terms of the size of a w x.
    size = np.abs(a * w).sum(1, keepdims=True) * np.abs(x) + np.abs(a * b).sum(1, keepdims=True) + np.abs(a).sum(1, keepdims=True)
    assert np.all(np.abs(sorted_outputs(activation, w, b, a, x) - want) <= 20 * np.finfo(float).eps * size)


@pytest.mark.parametrize(
    ("spec", "samples"),
    [
        (MLPSpec((1, 300, 1), "relu", init=Gaussian(std=0.5), alpha=2.0), 600),
        (MLPSpec((1, 300, 1), "tanh", init="ntk"), 600),
        (MLPSpec((3, 300, 1), "relu", bias="hidden"), 600),
        (MLPSpec((2, 300, 1), "gelu"), 600),
        (MLPSpec((2, 40, 40, 3), "tanh", residual=True), 5000),
        (MLPSpec((2, 40, 40, 1), torch.atan), 5000),
    ],
)
def test_evaluation_is_the_forward_pass(spec, samples):
    ensemble = Ensemble(spec, 2)
    x = torch.linspace(-2, 2, samples * spec.widths[0], dtype=torch.float64).reshape(samples, -1)
    want = plain(ensemble, x)
    torch.testing.assert_close(ensemble.forward(x), want, rtol=1e-10, atol=1e-12)
    params = list(ensemble.parameters.values())
    torch.testing.assert_close(evaluate_blocks(ensemble.model, params, ensemble.inputs(x)), want, rtol=1e-10, atol=1e-12)
    per_member = torch.stack([x, x.flip(0)])
    torch.testing.assert_close(evaluate(ensemble.model, params, per_member)[1], want[1].flip(0), rtol=1e-10, atol=1e-12)


def test_outputs_of_a_member_do_not_depend_on_its_row():
    spec, x = MLPSpec((1, 33, 1), "softplus"), torch.linspace(-1, 1, 301)[:, None]
    together = Ensemble(spec, 7).forward(x)
    for row in range(7):
        assert torch.equal(Ensemble(spec, [row]).forward(x)[0], together[row])
