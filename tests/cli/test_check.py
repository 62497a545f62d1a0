"""``theodolite check``: exit codes for chaotic, collapsed and healthy networks; a misspelt verdict is an error, never a pass."""

import re
from pathlib import Path

import pytest

from theodolite.cli.check import VERDICTS, matches, run
from theodolite.cli.main import main
from theodolite.core.measurement import Judgement, Measurement
from theodolite.core.quantity import QUANTITIES
from theodolite.core.registry import quantity_named
from theodolite.report.report import Row

FACTORY = """
import torch
from torch import nn
from theodolite.nets import mlp


def scaled(sigma_w2, depth=12, width=64):
    generator = torch.Generator().manual_seed(0)
    net = mlp([64] + [width] * depth + [10], "tanh")
    with torch.no_grad():
        for module in net:
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, (sigma_w2 / module.in_features) ** 0.5, generator=generator)
                module.bias.normal_(0, 0.05**0.5, generator=generator)
    return net

def chaotic():
    return scaled(4.0)

def healthy():
    return scaled(1.76, depth=4)

def collapsed():
    net = mlp([64, 64, 10], "tanh")
    with torch.no_grad():
        net[0].weight.fill_(0.01)
        net[0].bias.zero_()
    return net

def gated():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.LayerNorm(64), nn.Linear(64, 10))

def labelled():
    return points(), torch.arange(200) % 10

def regression():
    return points(), torch.randn(200, 10, generator=torch.Generator().manual_seed(2))

def few():
    return points()[:20]

def points():
    return torch.randn(200, 64, generator=torch.Generator().manual_seed(1))
"""


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    (tmp_path / "nets.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)

    def run(name, *words):
        code = main(["check", f"nets.py:{name}", "--data", "nets.py:points", *words])
        return code, capsys.readouterr()

    return run


def test_a_chaotic_network_fails(check):
    code, said = check("chaotic", "--fail-on", "chaotic,rank-collapse")
    assert code == 1
    assert "meanfield.chi_1 at 1: chaotic" in said.err
    assert check("chaotic", "--fail-on", "rank-collapse")[0] == 0


def test_a_collapsed_network_fails(check):
    code, said = check("collapsed", "--fail-on", "chaotic,rank-collapse")
    assert code == 1
    assert "rank.epsilon_rank at 1: collapsed" in said.err
    assert check("collapsed", "--fail-on", "chaotic")[0] == 0


def test_a_healthy_network_passes(check):
    code, said = check("healthy", "--fail-on", "chaotic,rank-collapse")
    assert (code, said.err) == (0, "")
    assert "rows checked, 0 with chaotic, rank-collapse" in said.out


@pytest.mark.parametrize(
    ("word", "near"), [("chaotc", "chaotic"), ("rank-colapse", "rank-collapsed"), ("deadneurons", "dead-neurons")]
)
def test_a_misspelt_verdict_is_an_error_with_the_nearest(check, word, near):
    code, said = check("healthy", "--fail-on", word)
    assert code == 2
    assert repr(near) in said.err


def test_no_verdict_at_all_is_an_error(check):
    assert check("healthy", "--fail-on", " , ")[0] == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [("points", "could not be measured: .*y"), ("regression", "was measured, but its verdicts do not apply")],
)
def test_a_verdict_that_could_not_be_checked_is_no_pass(check, data, reason):
    code, said = check("healthy", "--data", f"nets.py:{data}", "--fail-on", "not-separated,chaotic")
    assert code == 2
    assert re.search(f"not-separated not checked, because generalization.output_margin {reason}", said.err)
    assert "chaotic not checked" not in said.err
    assert "rows checked" not in said.out


def test_a_network_that_fails_says_what_was_not_checked_besides(check):
    code, said = check("chaotic", "--fail-on", "not-separated,chaotic")
    assert code == 1
    assert "meanfield.chi_1 at 1: chaotic" in said.err
    assert "not-separated not checked, because generalization.output_margin could not be measured" in said.err
    assert "could not be measured" in said.out


def test_bad_does_not_hide_a_verdict_that_could_not_be_checked(check):
    assert check("healthy", "--fail-on", "bad")[0] == 0
    code, said = check("healthy", "--fail-on", "bad,not-separated")
    assert code == 2
    assert "not-separated not checked" in said.err


def test_a_verdict_that_is_decided_is_a_pass_or_a_failure(check):
    code, said = check("healthy", "--data", "nets.py:labelled", "--fail-on", "not-separated")
    assert code == 1
    assert "not separated" in said.err


def test_one_word_for_several_quantities_needs_all_of_them(check):
    code, said = check("healthy", "--data", "nets.py:few", "--fail-on", "rank-")
    assert code == 2
    assert "rank- not checked, because rank.epsilon_rank could not be measured: " in said.err
    assert check("healthy", "--data", "nets.py:few", "--fail-on", "one-direction")[0] == 0


@pytest.mark.parametrize("word", ["c", "rank-", "n", "s"])
def test_the_beginning_of_a_verdict_does_not_name_what_is_good(word):
    said = {"rank.epsilon_rank": "full", "meanfield.chi_1": "critical", "rank.numerical_rank": "not full"}
    said |= {"rank.stable_rank": "several directions", "generalization.output_margin": "separated"}
    for quantity, verdict in said.items():
        row = Row(quantity, "", "1", Measurement(1.0), None, Judgement(verdict), "", 9)
        assert not matches(row, word)
        assert not matches(Row(quantity, "", "1", Measurement(None), None, Judgement("not measured"), "", 9), word)


def test_the_phase_of_a_network_with_norms_is_not_checked(check):
    code, said = check("gated", "--fail-on", "chaotic")
    assert code == 2
    assert "chaotic not checked, because meanfield.chi_1 was measured, but its verdicts do not apply" in said.err


def test_the_verdicts_that_can_be_named_are_those_that_judges_give():
    """Every name stands in the code of the judge of its quantity."""
    for verdict, name in VERDICTS.items():
        judge = quantity_named(name).judge
        source = Path(judge.__code__.co_filename).read_text(encoding="utf-8")
        assert f'"{verdict}"' in source, f"{verdict} is no verdict of {name}"
    assert set(VERDICTS.values()) == {q.name for q in QUANTITIES.values() if q.judge is not None}
    assert all(re.fullmatch(r"[a-z ]+", verdict) for verdict in VERDICTS)


def test_the_page_and_the_help_name_every_verdict():
    page = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")
    for verdict in VERDICTS:
        name = "rank-collapse" if verdict == "collapsed" else verdict.replace(" ", "-")
        assert f"`{name}`" in page
        assert name in run.__doc__
