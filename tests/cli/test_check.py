"""``theodolite check``: exit codes for chaotic, collapsed and healthy networks; a misspelt verdict is an error, never a pass."""

import re
from pathlib import Path

import pytest

from theodolite.cli.check import VERDICTS, run
from theodolite.cli.main import main
from theodolite.core.quantity import QUANTITIES
from theodolite.core.registry import quantity_named

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
