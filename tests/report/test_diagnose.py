"""Diagnosis: rows with resolution and verdicts, in every output form; the model as it was."""

import copy
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.core.measurement import Judgement, Measurement
from theodolite.nets import ConvResNet, mlp
from theodolite.report.report import Report, Row


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    split = td.data.digits(200)
    return td.diagnose(mlp([64, 32, 32, 10], "tanh"), split.x, split.y)


def test_ranks_are_those_of_the_features(report):
    torch.manual_seed(0)
    split = td.data.digits(200)
    model = mlp([64, 32, 32, 10], "tanh")
    lens = td.Lens(model, split.x)
    assert report["rank.epsilon_rank"].values == {n: float(td.rank.epsilon_rank(lens.features[n])) for n in lens.layers}


def test_the_table_and_the_summary(report):
    text = str(report)
    assert text.startswith("Sequential: 200 samples, 2 observed layers")
    assert "rank.epsilon_rank (r_ε)" in text
    words = " ".join(text.split())  # sentences are wrapped
    assert report.summary
    assert all(sentence in words for _, sentence in report.summary)
    assert "<table" in report._repr_html_()


def test_the_dictionary_is_strict_json_with_a_schema(report):
    data = report.to_dict()
    assert data["schema"] == 1
    json.dumps(data, allow_nan=False)
    for row in data["rows"]:
        assert set(row) >= {"quantity", "layer", "value", "low", "high", "prediction", "verdict", "advice", "reason"}
        assert row["value"] is not None or row["reason"]


def test_a_missing_or_censored_value_is_null_with_a_reason():
    def row(measured):
        return Row("a.b", "b", None, measured, float("nan"), Judgement(""), "roy2007", 3).to_dict()

    for measured in (Measurement(float("nan")), Measurement(float("inf")), Measurement(None, reason="no data")):
        assert row(measured)["value"] is None
        assert row(measured)["reason"]
    censored = row(Measurement(6.6e4, low=6.6e4, censored=True, reason="noise floor"))
    assert (censored["value"], censored["low"], censored["reason"]) == (None, 6.6e4, "noise floor")
    assert row(Measurement(1.0))["prediction"] is None


def test_saving(report, tmp_path):
    few = replace(report, rows=[r for r in report.rows if r.quantity.startswith("rank.")], profiles=report.profiles[:2])
    page = few.save(tmp_path / "new" / "r.html").read_text(encoding="utf-8")
    assert page.count("<div class=static><svg") >= 4  # whose ids must not clash
    assert json.loads(report.save(tmp_path / "r.json").read_text())["model"] == "Sequential"
    assert report.save(tmp_path / "r.csv").read_text().startswith("quantity,symbol,layer,value")
    with pytest.raises(ArgumentError, match=r"\.html, \.json or \.csv"):
        report.save(tmp_path / "r.docx")
    assert {p.name for p in tmp_path.iterdir()} == {"new", "r.json", "r.csv"}
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?https?://""", page)
    assert len(set(re.findall(r'\bid="([^"]+)"', page))) == len(re.findall(r'\bid="([^"]+)"', page))


def test_a_page_without_scripts(tmp_path):
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    report = td.diagnose(mlp([4, 8, 8, 1], "tanh"), x, quantities="rank.stable_rank")
    live, plain = (report.save(tmp_path / f"{k}.html", interactive=k).read_text(encoding="utf-8") for k in (True, False))
    assert "<script" in live
    assert "<script" not in plain
    assert live.count("<div class=static><svg") == plain.count("<div class=static><svg") == 1


def test_to_frame(report):
    frame = report.to_frame()
    assert len(frame) == len(report)
    assert {"quantity", "layer", "value"} <= set(frame.columns)


def test_explain(report):
    text = report.explain("rank.epsilon_rank")
    assert "strictly greater than ε" in text
    assert "In this report:" in text
    with pytest.raises(UnknownNameError, match="did you mean 'rank.epsilon_rank'"):
        report.explain("rank.epsilonrank")
    with pytest.raises(UnknownNameError, match="did you mean 'rank.epsilon_rank'"):
        report["rank.epsilonrank"]


def test_chosen_quantities_with_options():
    model, x = mlp([1, 30, 1], "tanh"), torch.linspace(-1, 1, 100)[:, None]
    few = td.diagnose(model, x, quantities=["rank.stable_rank", "rank.epsilon_rank"])
    assert {row.quantity for row in few} == {"rank.stable_rank", "rank.epsilon_rank"}
    fine = td.diagnose(model, x, quantities={"rank.epsilon_rank": {"eps": 1e-8}})
    assert fine["rank.epsilon_rank"][0].value > few["rank.epsilon_rank"][0].value
    with pytest.raises(UnknownNameError, match="did you mean 'rank.stable_rank'"):
        td.diagnose(model, x, quantities=["rank.stable_rnk"])
    with pytest.raises(UnknownNameError, match="did you mean 'eps'"):
        td.diagnose(model, x, quantities={"rank.epsilon_rank": {"epz": 1}})


def test_asked_for_but_not_measurable_is_a_row_with_a_reason():
    report = td.diagnose(mlp([1, 30, 1]), torch.linspace(-1, 1, 10)[:, None], quantities=["rank.epsilon_rank"])
    assert report.rows[0].value is None
    assert "fewer samples than neurons" in report.rows[0].to_dict()["reason"]


def test_the_model_is_left_exactly_as_it_was_found():
    torch.manual_seed(0)
    model = ConvResNet([4, 8]).train()
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    x = torch.rand(20, 1, 8, 8)
    rng = torch.random.get_rng_state()
    td.diagnose(model, x, torch.randint(10, (20,), generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(rng, torch.random.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_collapsed_layer_is_bad_news():
    model = mlp([1, 64, 1], "tanh")
    with torch.no_grad():
        model[0].weight.fill_(0.1)
        model[0].bias.fill_(0.0)
    (row,) = td.diagnose(model, torch.linspace(-1, 1, 100)[:, None], quantities="rank.epsilon_rank")
    assert row.judgement.level == "bad"
    assert "only 1 of 64" in row.advice or "only 0 of 64" in row.advice


def test_unknown_operations_are_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 1)

        def forward(self, x):
            return self.b(torch.cumsum(torch.tanh(self.a(x)), 0))

    report = td.diagnose(Odd(), torch.randn(30, 2), quantities="rank.epsilon_rank")
    assert report.unseen == ("cumsum in the root module",)
    assert "cumsum" in str(report)


def test_a_report_can_be_empty_of_advice():
    report = Report("M", 1, (), {}, td.Lens(mlp([1, 2, 1]), torch.zeros(3, 1)).architecture, [])
    assert report.summary == ()
    assert math.isfinite(len(str(report)))
    assert np.size(report.rows) == 0


def test_a_quantity_that_breaks_on_the_model_costs_only_its_own_rows():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 20))
    report = td.diagnose(net, torch.randint(0, 20, (10, 6)))
    assert report["rank.epsilon_rank"].values["2"] > 0
    assert "meanfield.jacobian_singular_values" in report.skipped


def test_reprs_are_short_and_what_is_no_module_is_named():
    report = td.diagnose(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(32, 2))
    assert repr(report).startswith("<Report on Sequential: 1 layers, 32 samples")
    assert len(repr(report)) < 200
    assert repr(report["rank.epsilon_rank"]) == str(report["rank.epsilon_rank"])
    with pytest.raises(ArgumentError, match="model must be"):
        td.diagnose(lambda x: x, torch.randn(32, 2))
