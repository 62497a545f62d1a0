"""What lies beyond a boundary, and what is constant, where several things happen at once."""

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td


def linear(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float64)
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    made.weight.data = weight
    if bias is not None:
        made.bias.data = torch.tensor(bias, dtype=torch.float64)
    return made


def drawn(*modules, seed=0, integer=False):
    generator, model = torch.Generator().manual_seed(seed), nn.Sequential(*modules).double()
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        if integer:
            p.data = p.data.round()
    return model


def test_a_switch_behind_another_may_stay_off():
    model = nn.Sequential(linear([[1.0]]), nn.ReLU(), linear([[-1.0]]), nn.ReLU())
    here = td.piecewise.local_region(model, [1.0])
    assert [n.pattern.tolist() for n in here.neighbours()] == [[False, False]]
    assert here.shoot([-1.0]).pattern.tolist() == [False, False]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["no biases", "pooled", "integers"])
def test_patterns_beyond_are_regions(kind, seed):
    if kind == "pooled":
        model = drawn(nn.Linear(2, 6), nn.ReLU(), nn.Unflatten(1, (1, 6)), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(3, 3), nn.ReLU(),
                      nn.Linear(3, 1), seed=seed)  # fmt: skip
    else:
        biased = kind == "integers"
        model = drawn(
            nn.Linear(2, 5, biased), nn.ReLU(), nn.Linear(5, 4, biased), nn.ReLU(), nn.Linear(4, 1), seed=seed, integer=biased
        )
    everywhere = td.piecewise.regions(model, None, certify="exact")
    patterns = {p.tobytes() for p in everywhere.patterns}
    points = np.random.default_rng(seed).normal(size=(12, 2))
    for point in points:
        here = td.piecewise.local_region(model, point)
        for neighbour in here.neighbours():
            assert neighbour.pattern.tobytes() in patterns
        hit = here.shoot(points[0] - point + 0.1)
        if hit.pattern is not None:
            assert hit.pattern.tobytes() in patterns
    found = everywhere.neighbours
    for r in range(min(everywhere.count, 8)):
        here = td.piecewise.local_region(model, everywhere.witnesses[r])
        beyond = {n.pattern.tobytes() for n in here.neighbours()}
        joined = {everywhere.patterns[b if a == r else a].tobytes() for a, b in found if r in (a, b)}
        assert beyond == joined


CHAINS = {
    "hard sigmoid": (lambda: nn.Sequential(linear([[1.0], [0.5]], [0.0, 100.0]), nn.Hardsigmoid(), linear([[1.0, 1.0]], [0.0])), 1, {0: [1]}),
    "activation first": (
        lambda: nn.Sequential(nn.ReLU(), linear([[1.0, 0], [1, 0]], [0.0, 0]), nn.ReLU(), linear([[1.0, 1]], [0.0])), 2, {},
    ),
    "two in a row": (
        lambda: nn.Sequential(linear([[1.0], [1], [1]], [0.0, -9, 9]), nn.LeakyReLU(0.1), nn.Hardtanh(), linear([[1.0, 2, 4], [1, 1, 1]], [0.0, 0]),
                              nn.ReLU(), nn.ReLU(), linear([[1.0, 1]], [0.0])), 1, {0: [2]},
    ),
    "identity and dropout": (
        lambda: nn.Sequential(linear([[1.0], [0.0]], [0.0, 2.0]), nn.Identity(), nn.Dropout(), linear([[1.0, 1]], [0.0])).eval(), 1, {0: [1]},
    ),
    "no activation": (lambda: nn.Sequential(linear([[1.0], [1.0]]), linear([[1.0, 1]])), 1, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_simplified_chains_are_the_same_function(name):
    make, d, removed = CHAINS[name]
    model = make()
    small = td.piecewise.simplify(model, td.box(-1, 1, dim=d))
    assert small.removed == removed
    x = torch.rand(200, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(small(x), model(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "module", [nn.AvgPool1d(1), nn.BatchNorm1d(2, affine=False), nn.Unflatten(1, (1, 2)), nn.PReLU()], ids=str
)
def test_what_is_not_elementwise_is_refused(module):
    with pytest.raises(td.UnsupportedError, match=type(module).__name__):
        td.piecewise.simplify(nn.Sequential(nn.Linear(2, 2), module, nn.Linear(2, 1)), td.box(-1, 1, dim=2))


def test_modules_that_are_not_what_they_seem():
    model = drawn(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    plain = td.piecewise.regions(model, td.box(-1, 1, dim=2)).affine[0]
    handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: 2 * o if isinstance(m, nn.Linear) else o)
    try:
        hooked = td.piecewise.regions(model, td.box(-1, 1, dim=2)).affine[0]
        np.testing.assert_allclose(np.unique(np.abs(hooked)), 4 * np.unique(np.abs(plain)), rtol=1e-9)
    finally:
        handle.remove()
    model.forward = lambda x: 5 * x
    assert td.piecewise.regions(model, td.box(-1, 1, dim=2)).count == 1
    with pytest.raises(td.UnsupportedError, match="must be real"):
        td.piecewise.regions(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex128), nn.ReLU()), td.box(-1, 1, dim=2))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1)],
        [nn.Conv1d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1)],
        [nn.MaxPool1d(2, dilation=2), nn.ReLU(), nn.Flatten()],
        [nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU()],
    ],
)
def test_one_channel_or_a_batch_of_one(layers):
    """An input of shape (1, 6) is what the model takes it for."""
    model, x = nn.Sequential(*layers).double().eval(), np.random.default_rng(0).normal(size=(1, 6))
    given = torch.from_numpy(x)
    expected = model(given if isinstance(layers[0], nn.Linear) else given[None]).detach().numpy().ravel()
    weight, bias = td.piecewise.local_region(model, x).affine
    assert np.allclose(weight @ x.ravel() + bias, expected, rtol=0, atol=1e-13)


def test_images_without_their_channel_are_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU())
    with pytest.raises(td.ArgumentError, match=r"shape that the model takes, got \(3, 3\)"):
        td.piecewise.local_region(model, np.ones((3, 3)))


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("k", [44, 48, 52])
def test_a_neuron_that_is_on_in_a_sliver_stays(dim, k):
    """On in [1 − 2⁻ᵏ, 1] only, and steep: regions without certificates may miss it."""
    model = nn.Sequential(nn.Linear(dim, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:, 0] = 1
        model[0].bias.copy_(torch.tensor([-(1 - 2.0**-k), 0.0], dtype=torch.float64))
        model[2].weight.copy_(torch.tensor([[2.0**k, 1.0]])), model[2].bias.zero_()
    domain, corner = td.box(-1, 1, dim=dim), torch.ones(1, dim, dtype=torch.float64)
    assert td.piecewise.dead_neurons(model, domain).tolist() == []
    assert td.piecewise.always_on_neurons(model, domain).tolist() == []
    assert td.piecewise.simplify(model, domain)(corner).item() == model(corner).item() == 2.0
