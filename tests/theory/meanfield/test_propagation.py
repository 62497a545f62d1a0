"""The theory pass over modules of many kinds: its standard deviations, its rules for positions, and what it flags."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import theodolite.theory.meanfield as mf
from theodolite.core.errors import ArgumentError
from theodolite.core.seed import generator


def gaussian_(model, w2, b2, seed):
    g = generator(seed, "propagation")
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
            with torch.no_grad():
                module.weight.normal_(0, math.sqrt(w2 / module.weight[0].numel()), generator=g)
                module.bias.normal_(0, math.sqrt(b2), generator=g)
    return model


def scores(build, shape, w2, b2, seeds):
    """(layer, quantity) -> z of each seed."""
    found = {}
    for seed in range(seeds):
        x = torch.randn(shape, generator=generator(seed, "inputs"))
        for row in mf.propagate(gaussian_(build(), w2, b2, seed), x, seed=seed):
            found.setdefault((row.layer, row.quantity), []).append(row.z)
    return {key: np.array(values) for key, values in found.items()}


def dense():
    return nn.Sequential(
        nn.Linear(40, 96), nn.Tanh(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 96), nn.Tanh(), nn.Linear(96, 96)
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 64),
    )


class Residual(nn.Module):
    """A sum of a rectified stream and a branch, rectified again."""

    def __init__(self):
        super().__init__()
        self.first, self.inner, self.end, self.out = (nn.Linear(*s) for s in ((40, 96), (96, 96), (96, 96), (96, 96)))

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.out(torch.relu(x + self.end(torch.relu(self.inner(x)))))


@pytest.mark.parametrize(
    ("build", "shape", "w2", "b2"),
    [(dense, (6, 40), 1.8, 0.05), (convolutional, (4, 3, 8, 8), 2.0, 0.01), (Residual, (6, 40), 1.0, 0.05)],
)
def test_scores_scatter_as_standard_normals(build, shape, w2, b2):
    seeds = 24
    found = scores(build, shape, w2, b2, seeds)
    for key, z in found.items():
        # 24 draws: the mean within 4 standard errors and room for bias of order 1/width, the scatter at most that of 24 draws
        assert abs(z.mean()) < 0.4 + 4 / math.sqrt(seeds), key
        assert z.std() < 1.7, key
    # Several inputs share the weights: their average scatters less than one of them, and theory knows it.
    assert min(z.std() for (_, quantity), z in found.items() if quantity == "q_length") > 0.5
    for quantity, least in (("chi_1", 0.5), ("correlation", 0.35)):
        scatters = [z.std() for (layer, name), z in found.items() if name == quantity and layer not in ("0", "1", "first")]
        assert min(scatters) > least, quantity


@pytest.mark.parametrize("b2", [0.0, 0.3])
def test_inputs_of_all_directions_leave_nothing_to_chance(b2):
    # the mean length of one-hot inputs is the mean square of the weights, which is known
    for seed in range(5):
        rows = list(
            mf.propagate(gaussian_(nn.Sequential(nn.Linear(30, 64), nn.Tanh(), nn.Linear(64, 64)), 1.5, b2, seed), torch.eye(30))
        )
        assert all(abs(row.z) < 4 for row in rows if row.quantity == "q_length")
        if not b2:
            assert rows[0].predicted_sd < 1e-6 * rows[0].predicted


def test_batch_norm_called_by_position_is_read_as_by_name():
    class Net(nn.Module):
        def __init__(self, positional):
            super().__init__()
            self.inner, self.norm, self.last, self.positional = (
                nn.Linear(20, 64),
                nn.BatchNorm1d(64),
                nn.Linear(64, 64),
                positional,
            )
            with torch.no_grad():
                self.norm.running_mean.normal_(generator=generator(0, "mean"))
                self.norm.running_var.uniform_(0.5, 2.0, generator=generator(0, "var"))

        def forward(self, x):
            n, z = self.norm, self.inner(x)
            if self.positional:
                z = nn.functional.batch_norm(z, n.running_mean, n.running_var, n.weight, n.bias, False, 0.1, 0.3)
            else:
                z = nn.functional.batch_norm(z, n.running_mean, n.running_var, weight=n.weight, bias=n.bias, eps=0.3)
            return self.last(torch.tanh(z))

    x = torch.randn(5, 20, generator=generator(0, "inputs"))
    ours, named = (
        [(r.layer, r.predicted) for r in mf.propagate(gaussian_(Net(p).eval(), 1.5, 0.1, 0), x)] for p in (True, False)
    )
    assert ours == named
    assert len(ours) > 2


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), nn.AvgPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(3), nn.CircularPad2d(1), nn.ReflectionPad2d(2), nn.ZeroPad2d(1), nn.Upsample(scale_factor=2),
        nn.Upsample(size=5, mode="bilinear"),
    ],
)  # fmt: skip
def test_maps_of_positions_are_exact_whatever_their_options(pool):
    g = generator(0, "positions")
    # A convolution of one tap has σ_w² times the second moment of what it reads, and that is the pool's own result.
    x = torch.randn(3, 4, 6, 6, generator=g, dtype=torch.float64)
    net = nn.Sequential(pool, nn.Conv2d(4, 5000, 1, bias=False)).double()
    with torch.no_grad():
        net[1].weight.normal_(generator=g)
    found = mf.propagate(net, x)
    assert not found.flags
    row = next(r for r in found if r.quantity == "q_length")
    w2 = float(net[1].weight.detach().square().mean())
    assert row.predicted == pytest.approx(w2 * float(pool(x).square().mean()) * 4, rel=1e-12)


def test_padding_that_is_not_zero_has_a_rule():
    net = nn.Sequential(
        nn.Conv2d(3, 48, 3, padding=1, padding_mode="circular"),
        nn.Tanh(),
        nn.Conv2d(48, 48, 3, padding=1, padding_mode="reflect"),
    )
    found = mf.propagate(gaussian_(net, 1.5, 0.05, 0), torch.randn(3, 3, 6, 6, generator=generator(1)))
    assert not found.flags
    assert all(abs(row.z) < 5 for row in found)


def test_tokens_and_factors_have_rules():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Linear(8, 300), nn.Linear(300, 300)

        def forward(self, x):
            h = self.embed(x)
            return self.out(0.5 * (h.mean(1) + h[:, 0]))

    class Selected(Pooled):
        def forward(self, x):
            return self.out(0.5 * self.embed(x)[:, -1])

    x = torch.randn(4, 5, 8, generator=generator(2))
    found = mf.propagate(gaussian_(Selected(), 1.0, 0.1, 0), x)
    assert not found.flags
    assert all(abs(row.z) < 4 for row in found)
    # both operands of the sum come from the same weights
    assert any("same weights" in reason for _, reason in mf.propagate(gaussian_(Pooled(), 1.0, 0.1, 0), x).flags)


class Repeated(nn.Module):
    """One layer in every residual block."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, 128)

    def forward(self, x):
        for _ in range(4):
            x = x + self.layer(torch.relu(x))
        return x


def test_branches_of_one_layer_are_not_independent():
    net = gaussian_(nn.Sequential(nn.Linear(30, 128), Repeated()), 1.0, 0.05, 0)
    found = mf.propagate(net, torch.randn(6, 30, generator=generator(3)))
    reasons = " ".join(reason for _, reason in found.flags)
    assert "uses the weights of 1.layer.linear again" in reasons
    assert "depend on the same weights" in reasons


def test_a_pass_that_is_cut_is_flagged():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 6), nn.Linear(6, 7)

        def forward(self, x):
            return self.b(torch.from_numpy(np.tanh(self.a(x).detach().numpy())))

    flags = dict(mf.propagate(Cut(), torch.ones(2, 5)).flags)
    assert "has no rows" in flags["output"]


def test_what_is_sampled_scatters_as_samples_do():
    def build():
        return nn.Sequential(nn.ConvTranspose2d(6, 40, 4, 2, 1), nn.ReLU(), nn.Conv2d(40, 40, 3))

    found = scores(build, (4, 6, 4, 4), 2.0, 0.01, 12)
    assert max(np.abs(z).max() for z in found.values()) < 6


def test_rms_norm_has_the_eps_of_its_precision():
    net = gaussian_(nn.Sequential(nn.Linear(30, 400), nn.RMSNorm(400), nn.Linear(400, 400)), 1e-5, 0.0, 0)
    gaussian_(net[2], 1.0, 0.0, 1)
    rows = [row for row in mf.propagate(net, torch.randn(4, 30, generator=generator(4))) if row.quantity == "q_length"]
    assert rows[0].predicted < 2e-5
    assert rows[1].predicted == pytest.approx(1.0, rel=0.05)
    assert all(abs(row.z) < 4 for row in rows)


def test_offsets_of_a_layer_norm_count_as_means():
    net = gaussian_(nn.Sequential(nn.Linear(30, 500), nn.LayerNorm(500), nn.Linear(500, 500)), 1.0, 0.0, 0)
    with torch.no_grad():
        net[1].weight.fill_(0.5)
        net[1].bias.fill_(2.0)
    rows = [row for row in mf.propagate(net, torch.randn(4, 30, generator=generator(5))) if row.layer == "2"]
    w2 = float(net[2].weight.detach().double().square().mean()) * 500
    assert rows[0].predicted == pytest.approx(w2 * (0.25 + 4.0), rel=1e-6)


def test_uneven_scales_are_flagged():
    net = nn.Sequential(nn.Linear(8, 50), nn.BatchNorm1d(50), nn.Tanh(), nn.Linear(50, 5)).eval()
    net[1].running_var.copy_(torch.linspace(0.1, 4.0, 50))
    assert any("scales differ" in reason for _, reason in mf.propagate(net, torch.randn(3, 8, generator=generator(6))).flags)


def test_equal_inputs_are_as_predicted():
    net = gaussian_(dense(), 1.5, 0.05, 0)
    rows = [row for row in mf.propagate(net, torch.ones(3, 40)) if row.quantity == "correlation"]
    assert [row.verdict for row in rows] == ["as predicted"] * 4


def test_bad_input_is_named():
    net = dense()
    for model, x, match in (
        (net, torch.full((2, 40), math.nan), "finite"),
        (3, torch.ones(2, 40), r"nn\.Module"),
        (nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 80, 80), "4096 positions"),
    ):
        with pytest.raises(ArgumentError, match=match):
            mf.propagate(model, x)
