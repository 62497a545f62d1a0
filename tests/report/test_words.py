"""Words from the judges: phases, redundancy, dead neurons, merging inputs; most important first."""

import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.nets import mlp


def network(activation, sigma_w2, depth, width=100, sigma_b2=0.0):
    """A deep network with W ~ N(0, σ_w²/n)."""
    generator = torch.Generator().manual_seed(0)
    net = mlp([width] * (depth + 1), activation)
    with torch.no_grad():
        for module in net:
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, (sigma_w2 / width) ** 0.5, generator=generator)
                module.bias.normal_(0, sigma_b2**0.5, generator=generator) if sigma_b2 else module.bias.zero_()
    return net, torch.randn(120, width, generator=generator)


def chi(net, x):
    return td.diagnose(net, x, quantities="meanfield.chi_1")


def test_a_deep_chaotic_network_is_bad_news_with_a_way_out():
    report = chi(*network("tanh", 4.0, 20, sigma_b2=0.05))
    assert {row.verdict for row in report.rows[:-1]} == {"chaotic"}
    ((level, sentence),) = report.summary[:1]
    assert level == "bad"
    assert "chaotic: χ₁ = " in sentence
    assert "per layer" in sentence
    critical = td.meanfield.critical_line(torch.tanh, sigma_b2=0.05).sigma_w2
    named = float(sentence.partition("critical at σ_w² = ")[2].split()[0])
    assert named == pytest.approx(critical, rel=0.05)  # the biases' own variance is near 0.05


def test_ordered_and_critical():
    report = chi(*network("tanh", 0.4, 12))
    assert {row.verdict for row in report.rows} == {"ordered"}
    assert report.rows[3].judgement.level == "bad"
    report = chi(*network("relu", 2.0, 6))
    assert {row.verdict for row in report.rows} == {"critical"}


def test_a_shallow_chaotic_network_is_a_note():
    report = chi(*network("tanh", 4.0, 3, sigma_b2=0.05))
    assert {row.judgement.level for row in report.rows if row.verdict == "chaotic"} == {"note"}


def test_no_phase_is_claimed_where_norms_or_branches_act_too():
    torch.manual_seed(0)
    normed = nn.Sequential(nn.Linear(20, 20), nn.LayerNorm(20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1))
    for row in chi(normed, torch.randn(30, 20)):
        assert row.verdict == "of this layer alone"
        assert row.prediction is None


def test_theory_of_a_layer_is_about_the_weights_that_read_it():
    net, x = network("relu", 2.0, 4, width=200)
    with torch.no_grad():
        net[4].weight.mul_(2**0.5)  # reads layer 3: σ_w² = 4 there, χ₁ = 2
    row = chi(net, x)["meanfield.chi_1"][1]
    assert row.layer == "3"
    assert row.value == pytest.approx(2.0, rel=0.1)


def test_convolutions_sum_over_kernel_positions():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(8, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 36, 2)
    )
    with torch.no_grad():
        for conv in (net[0], net[2]):
            nn.init.kaiming_normal_(conv.weight)  # Var W = 2/(9 n): critical
            conv.bias.zero_()
    first = chi(net, torch.randn(20, 8, 6, 6))["meanfield.chi_1"][0]
    assert first.value == pytest.approx(1.0, abs=0.1)


def test_merging_inputs():
    net, x = network("tanh", 0.9, 12, sigma_b2=0.5)
    report = td.diagnose(net, x, quantities="meanfield.correlation")
    assert report.rows[-1].verdict == "inputs merge"
    assert report.summary[0][0] == "bad"


def test_dead_relus_but_not_dead_tanhs():
    torch.manual_seed(0)
    x = torch.randn(100, 5)
    for activation, verdict in (("relu", "dead neurons"), ("tanh", "")):
        net = mlp([5, 20, 1], activation)
        with torch.no_grad():
            net[0].bias[:8] = -100.0
        (row,) = td.diagnose(net, x, quantities="piecewise.dead_fraction")
        assert row.value == pytest.approx(0.4, abs=0.11)
        assert row.verdict == verdict
    assert "of 20 neurons" in td.diagnose(mlp_dead(), x, quantities="piecewise.dead_fraction").summary[0][1]


def mlp_dead():
    net = mlp([5, 20, 1], "relu")
    with torch.no_grad():
        net[0].bias[:12] = -100.0
    return net


def test_condensed_neurons_are_counted_in_reports_and_tracks():
    net = mlp([3, 40, 1], "tanh")
    with torch.no_grad():
        directions = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
        net[0].weight.copy_(directions.repeat(20, 1))
        net[0].bias.zero_()
        net[2].weight.fill_(1.0)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    (row,) = td.diagnose(net, x, quantities="condensation.count_directions")
    assert (row.value, row.verdict) == (2.0, "condensed")
    assert "40 neurons point to only 2 directions" in row.advice
    with td.track(net, x, quantities=["condensation.count_directions"], when=[0]) as run:
        pass
    assert run.data["condensation.count_directions"].values.tolist() == [[2.0]]


def test_spread_neurons_say_that_the_count_means_little():
    torch.manual_seed(0)
    (row,) = td.diagnose(mlp([10, 30, 1], "tanh"), torch.randn(50, 10), quantities="condensation.count_directions")
    assert row.verdict == "not condensed"


def test_the_pl_ratio_of_class_labels_is_that_of_one_hot_targets():
    torch.manual_seed(0)
    net, x, y = mlp([4, 10, 3], "tanh"), torch.randn(20, 4), torch.arange(20) % 3
    (row,) = td.diagnose(net, x, y, quantities="tangent.pl_ratio")
    assert row.value == pytest.approx(td.tangent.pl_ratio(net, x, nn.functional.one_hot(y, 3).float()))


def test_margins_are_judged_where_there_are_classes():
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
    x = torch.tensor([[2.0, 0.5], [0.0, 3.0], [1.0, 0.0]])
    for y, value, verdict in (
        (torch.tensor([0, 1, 0]), 1.0, "separated"),
        (torch.tensor([0, 1, 1]), -1.0, "not separated"),
        (x, 1.0, ""),
    ):
        (row,) = td.diagnose(net, x, y, quantities="generalization.output_margin", layers="0")
        assert (row.value, row.verdict) == (value, verdict)
        assert bool(row.advice) == (verdict == "not separated")


def test_judged_rows_come_first_and_words_are_merged():
    torch.manual_seed(0)
    split = td.data.digits(150)
    report = td.diagnose(mlp([64, 24, 24, 24, 10], "tanh"), split.x, split.y)
    spoken = [bool(row.advice or row.verdict) for row in report.rows]
    assert spoken == sorted(spoken, reverse=True)
    (sentence,) = [text for _, text in report.summary if "redundant" in text]
    assert sentence.startswith("layers 1, 3, 5 (most of all 5)")
    assert "ε = 0.001" in sentence


@pytest.mark.parametrize("bias", [0.0, 1.0, 30.0])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (20, 150), (200, 10)])
def test_the_edge_of_random_weights_is_where_drawn_ones_end(n, m, bias):
    generator = torch.Generator().manual_seed(0)
    layer, x = nn.Linear(m, n), torch.randn(8, m, generator=generator)
    net = nn.Sequential(layer, nn.Tanh())

    def verdict():
        (row,) = td.diagnose(net, x, quantities="generalization.spectral_norm")
        return row.verdict

    for _ in range(5):
        with torch.no_grad():
            layer.weight.normal_(0, m**-0.5, generator=generator)
            layer.bias.normal_(0, (bias / m) ** 0.5, generator=generator)
        assert verdict() == "as random weights"
    with torch.no_grad():
        layer.weight += torch.ones(n, 1) @ torch.ones(1, m) * (2 + bias**0.5) / m**0.5 / min(n, m) ** 0.5
    assert verdict() == "above random weights"
    with torch.no_grad():
        nn.init.orthogonal_(layer.weight, generator=generator)
        layer.bias.zero_()
    assert verdict() == "below random weights"


def features(phi):
    """A network whose only observed layer shows the rows of ``phi``, and its inputs."""
    return nn.Sequential(nn.Identity(), nn.Linear(phi.shape[-1], 1)), phi


def test_features_along_one_direction_are_told():
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(50, 6, generator=generator)
    merged = torch.ones(50, 6) + 0.3 * spread  # 92 % in one direction
    for phi, verdict in ((spread, "several directions"), (merged, "one direction")):
        share = torch.linalg.svdvals(phi.double()).square()
        assert bool(share[0] / share.sum() > 0.9) == (verdict == "one direction")
        (row,) = td.diagnose(*features(phi), quantities="rank.stable_rank", layers="0")
        assert row.verdict == verdict


def test_dependent_neurons_are_told_from_too_few_samples():
    phi = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    dependent = torch.cat([phi, phi[:, :2] - phi[:, 2:4]], 1)
    for given, verdict in ((phi, "full"), (dependent, "dependent"), (phi[:4], "not full")):
        (row,) = td.diagnose(*features(given), quantities="rank.numerical_rank", layers="0")
        assert row.verdict == verdict
    positions = dependent[:20].reshape(5, 4, 8)  # five samples of four positions: 20 rows of rank 6, which is no multiple of 5
    (row,) = td.diagnose(*features(positions), quantities="rank.numerical_rank", layers="0")
    assert (row.value, row.verdict) == (6, "dependent")
