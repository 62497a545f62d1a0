"""The fused kernels and their elementary functions against scipy and against the eager backend."""

import numpy as np
import pytest
import torch
from scipy import special

from theodolite.core.errors import ArgumentError
from theodolite.train import SGD, Adam, Ensemble, MLPSpec, TraceGD
from theodolite.train.kernels import elementary
from theodolite.train.kernels.build import load_source

REFERENCES = {"exp": np.exp, "tanh": np.tanh, "sigmoid": special.expit, "erf": special.erf}


def arguments(real):
    stream = np.random.default_rng(0)
    tiny = 10 ** stream.uniform(-30, 0, 5000) * stream.choice([-1, 1], 5000)
    return np.concatenate([stream.uniform(-30, 30, 5000), stream.uniform(-2, 2, 5000), tiny]).astype(real)


@pytest.mark.parametrize("single", [False, True])
def test_elementary_functions_are_accurate_to_the_last_digits(single):
    real = np.float32 if single else np.float64
    x, eps = arguments(real), np.finfo(real).eps
    lines = ["@kernel", "def run(x, out):", "    for i in range(x.size):"]
    lines += [f"        out[{k}, i] = {name}(x[i])" for k, name in enumerate(REFERENCES)]
    lines += ["        out[4, i], out[5, i] = sincos(x[i])"]
    out = np.empty((6, x.size), real)
    load_source("\n".join(lines) + "\n", single).run(x, out)
    for k, reference in enumerate([*REFERENCES.values(), np.sin, np.cos]):
        true = reference(x.astype(np.float64))
        assert np.max(np.abs(out[k] - true) / np.abs(true)) < 4 * eps


def test_elementary_functions_at_the_ends():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e3, -1e3])
    got = {name: [getattr(elementary, f"{name}_64")(v) for v in x] for name in ("exp", "tanh", "erf", "sigmoid")}
    for values in got.values():
        assert np.isnan(values[0])
    assert got["tanh"][1:] == [1, -1, 0, 0, 1, -1]
    assert got["erf"][1:] == [1, -1, 0, 0, 1, -1]
    assert got["exp"][3:5] == [1, 1]
    assert got["exp"][2] < 1e-300
    assert got["sigmoid"][5] == 1
    assert 0 <= got["sigmoid"][6] < 1e-300
    assert all(np.isnan(v) for v in elementary.sincos_64(np.inf))


# (activation, optimiser, loss, samples, inputs, bias, dtype, init): every value of each at least once, both kernels.
CASES = [
    ("relu", SGD(), "mse", 4, 1, "hidden", torch.float32, "torch"),
    ("tanh", Adam(eps=1e-6), "half_mse", 4, 1, True, torch.float64, "ntk"),
    ("sigmoid", SGD(momentum=0.9), "logistic", 7, 3, False, torch.float64, "torch"),
    ("xtanh", SGD(momentum=0.5, nesterov=True), "exponential", 40, 2, True, torch.float64, "ntk"),
    ("x2tanh", TraceGD(), "mse", 20, 3, "hidden", torch.float64, "torch"),
    ("erf", Adam(eps=1e-6), "mse", 17, 2, (False, True), torch.float32, "torch"),
    ("sin", TraceGD(), "half_mse", 5, 2, True, torch.float64, "ntk"),
    ("relu", Adam(eps=1e-6), "logistic", 33, 4, True, torch.float64, "torch"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[3]}x{case[4]}")
@pytest.mark.slow
def test_fused_kernels_agree_with_the_eager_backend(case):
    activation, optimizer, loss, samples, inputs, bias, dtype, init = case
    spec = MLPSpec((inputs, 37, 1), activation, bias=bias, init=init, alpha=1.3)
    stream = torch.Generator().manual_seed(samples)
    x, y = torch.randn(samples, inputs, generator=stream), torch.randn(samples, 1, generator=stream)
    if loss in ("logistic", "exponential"):
        y = y.sign()
    rates = torch.tensor([1.0, 0.5, 0.2]) if isinstance(optimizer, TraceGD) else torch.tensor([0.01, 0.02, 0.005])
    found = []
    for backend in ("numba", "eager"):
        ensemble = Ensemble(spec, 3, dtype=dtype)
        first = ensemble.train(x, y, steps=15, loss=loss, optimizer=optimizer, lr=rates, backend=backend)
        found.append((ensemble, first))
    (fused, a), (eager, b) = found
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    for name in fused.parameters:
        assert float((fused.parameters[name] - eager.parameters[name]).norm()) <= tolerance * float(eager.parameters[name].norm())
    np.testing.assert_allclose(a.data["loss"], b.data["loss"], rtol=10 * tolerance)


def test_small_initialisations_keep_their_digits():
    """At z ~ 1e-6 and below the gradient of tanh networks is a product of tiny numbers, each right to the last digits."""
    spec = MLPSpec((1, 20, 1), "xtanh", bias="hidden", init="gaussian")
    x = torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None]
    moved = []
    for backend in ("numba", "eager"):
        ensemble = Ensemble(spec, 2, init_scale=1e-8)
        start = ensemble.parameters["hidden1.weight"].clone()
        ensemble.train(x, x + 0.3, steps=3, lr=1e6, backend=backend)
        moved.append(ensemble.parameters["hidden1.weight"] - start)
    assert float(moved[1].abs().min()) > 0
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-6, atol=0)


def test_what_cannot_be_fused_says_why():
    x, y = torch.randn(5, 1), torch.randn(5, 1)
    for spec, options, words in (
        (MLPSpec((1, 3, 3, 1), "relu"), {}, "two-layer"),
        (MLPSpec((1, 3, 1), "gelu"), {}, "activations"),
        (MLPSpec((1, 3, 1), "relu"), {"optimizer": "normalized_gd"}, "know GD"),
        (MLPSpec((1, 3, 1), "relu"), {"batch_size": 2}, "all samples"),
    ):
        with pytest.raises(ArgumentError, match=words):
            Ensemble(spec, 1).train(x, y, steps=2, backend="numba", **options)


def test_all_members_of_the_tables_are_covered():
    from theodolite.train.backends import fused

    assert {case[0] for case in CASES} == set(fused._ACTIVATIONS)
    assert {case[2] for case in CASES} == set(fused._LOSSES)
