"""What the views compute, against the library's own functions and by slow means."""

import json
import math

import numpy as np
import pytest
import torch

import theodolite as td
from theodolite.core.errors import ArgumentError, UnknownNameError
from theodolite.nets.activations import ACTIVATIONS
from theodolite.report.explorer.endpoints import answer, endpoints
from theodolite.report.explorer.payload import strict_json
from theodolite.report.explorer.views import staircase

KNOWN = endpoints()


def ask(name, **query):
    result = answer(KNOWN, name, [(k, str(v)) for k, v in query.items()])
    strict_json(result)
    return result


# --- phase plane


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_the_plane_is_that_of_the_library(activation):
    found = ask("phase/plane", activation=activation, columns=9, rows=8, w_max=3, b_max=0.5)
    slow = td.meanfield.phase_diagram(activation, found["sigma_w2"], found["sigma_b2"])
    np.testing.assert_allclose(found["chi_1"], slow.chi_1.T, rtol=6e-5)
    np.testing.assert_allclose(found["q_star"], slow.q_star.T, rtol=6e-5)
    np.testing.assert_allclose(found["xi_grad"], slow.xi_grad.T, rtol=1e-2)  # ξ magnifies the rounding of χ₁ near 1
    exec(found["python"], names := {})
    for name in ("chi_1", "q_star", "xi_grad"):
        np.testing.assert_allclose(getattr(names["plane"], name).T, found[name], rtol=1e-2 if name == "xi_grad" else 6e-5)


@pytest.mark.parametrize(("activation", "b_max"), [("tanh", 0.5), ("relu", 0.5), ("gelu", 0.2)])
def test_the_correlations_of_the_plane_are_those_of_its_points(activation, b_max):
    query = {"activation": activation, "columns": 9, "rows": 8, "w_max": 3, "b_max": b_max}
    plane, found = ask("phase/plane", **query), ask("phase/correlations", **query)
    seen = set()
    for r, k in [(0, 0), (0, 8), (3, 2), (5, 5), (7, 8), (1, 6)]:
        w, b = plane["sigma_w2"][k], plane["sigma_b2"][r]
        if np.isinf(plane["q_star"][r][k]):
            assert np.isnan(found["c_star"][r][k])
            seen.add("diverges")
            continue
        seen.add(td.meanfield.phase(activation, w, b))
        # A fixed point of the correlation map, at which its slope is exp(−1/ξ_c) < 1: that there are no others is convexity.
        c, h = found["c_star"][r][k], 1e-4
        below, at, above = td.meanfield.c_map(np.array([c - h, c, min(1.0, c + h)]), activation, w, b)
        assert at == pytest.approx(c, abs=2e-5)
        slope = (above - below) / (min(1.0, c + h) - c + h)
        assert slope == pytest.approx(math.exp(-1 / found["xi_c"][r][k]), abs=3e-3)
        assert slope < 1
    assert {"ordered", "chaotic" if activation == "tanh" else "diverges"} <= seen


def test_the_critical_line_is_critical():
    line = ask("phase/plane", activation="erf")["line"]
    assert len(line["sigma_w2"]) == 41
    for w, b in list(zip(line["sigma_w2"], line["sigma_b2"], strict=True))[1::10]:
        assert abs(td.meanfield.chi_1("erf", w, b) - 1) < 1e-9
    relu = ask("phase/plane", activation="relu")["line"]
    assert relu["sigma_w2"] == pytest.approx([2.0], abs=1e-12)
    assert relu["sigma_b2"] == [0.0]


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("elu", "selu", "celu")])
def test_every_activation_has_a_plane_and_a_point(activation):
    plane = ask("phase/plane", activation=activation, columns=8, rows=8)
    assert len(plane["chi_1"]) == 8
    assert plane["w_max"] > 0
    point = ask("phase/point", activation=activation, w=0.3 * plane["w_max"], b=0.05, depth=4)
    assert point["python"].startswith("import torch")


def test_the_point_is_that_of_the_library():
    at = {"activation": "tanh", "w": 2.3, "b": 0.1}
    p = ask("phase/point", **at, depth=7)
    arguments = ("tanh", 2.3, 0.1)
    assert p["phase"] == td.meanfield.phase(*arguments) == "chaotic"
    assert p["c_star"] == td.meanfield.c_star(*arguments)
    assert p["xi_c"] == td.meanfield.depth_scales(*arguments).xi_c
    np.testing.assert_allclose(p["map"]["next"], td.meanfield.c_map(p["map"]["c"], *arguments), atol=2e-6)
    for flow in p["flows"]:
        slow = td.meanfield.correlation_flow(*arguments, depth=40, c0=flow["c0"]).c
        np.testing.assert_allclose(flow["c"], slow, atol=5e-6)
    critical = td.meanfield.critical_line("tanh", 0.1)
    assert p["critical"]["sigma_w2"] == critical.sigma_w2
    for weights in ("gaussian", "orthogonal"):
        d = p["jacobian"][weights]
        s = d["s"][::40]
        slow = 2 * s * td.meanfield.jacobian_density(s**2, "tanh", critical.q_star, 7, weights)
        np.testing.assert_allclose(d["density"][::40], slow, rtol=2e-4, atol=1e-9)
        # Nothing of the spectrum is left out to the right.
        assert d["s"][-1] > d["s_max"] > 0.9 * d["s"][-1]


@pytest.mark.parametrize("activation", ["relu", "hardtanh", "leaky_relu", "gelu", "sin", "softsign"])
def test_the_interpolated_map_holds_for_kinks_too(activation):
    p = ask("phase/point", activation=activation, w=1.3, b=0.05)
    slow = td.meanfield.c_map(p["map"]["c"][::16], activation, 1.3, 0.05)
    np.testing.assert_allclose(p["map"]["next"][::16], slow, atol=2e-5)


def test_a_diverging_variance_is_told_not_raised():
    p = ask("phase/point", activation="relu", w=2.5, b=0.1)
    assert p["diverges"]
    assert "diverges" in p["reason"]
    assert not p["critical"]["exists"]


def test_the_python_code_runs(capsys):
    for query in ({}, {"activation": "relu", "w": 1.0, "b": 0.1}):
        exec(ask("phase/point", **{"depth": 3, **query})["python"], {})
    with pytest.warns(td.TheodoliteWarning, match="unstable"):
        exec(ask("phase/point", activation="xtanh", w=0.4, depth=3)["python"], {})
    exec(ask("phase/plane", columns=8, rows=8)["python"], {})
    exec(ask("condensation/point")["python"], {})
    exec(ask("descent/curve", samples=10)["python"], {})
    assert "σ_w²" in capsys.readouterr().out


# --- condensation


def test_condensation_points():
    p = ask("condensation/point", gamma=1.5, gamma_prime=-0.25, activation="xtanh", target="sine")
    assert p["regime"] == td.condensation.regime(1.5, -0.25) == "condensed"
    for row in p["stds"]:
        back = td.condensation.coordinates(row["std_a"], row["std_w"], 1.0, row["width"])
        np.testing.assert_allclose(back, (1.5, -0.25), atol=1e-12)
    d = p["directions"]
    assert d["p"] == 2
    # At a growing direction of positive output weight the potential is at a local maximum, in value and in place.
    angle, value = np.array(d["potential"]["angle"]), np.array(d["potential"]["value"])
    for found in d["found"]:
        near = np.abs((angle - found["angle"] + math.pi) % (2 * math.pi) - math.pi) < 0.2
        best = value[near].max() if found["sign"] > 0 else value[near].min()
        assert abs(best - found["strength"]) <= 2e-3 * np.abs(value).max()


def test_condensation_plane_agrees_with_the_regimes():
    plane = ask("condensation/plane", columns=12, rows=10)
    exponent = np.array(plane["exponent"])
    words = td.condensation.regime(plane["gamma"][None, :], plane["gamma_prime"][:, None])
    assert ((exponent > 0) == (words == "condensed")).all()
    assert {tuple(n["names"]) for n in plane["named"]} >= {("ntk",), ("mean_field", "xavier")}


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_has_directions(activation):
    found = ask("condensation/point", activation=activation, target="bump")
    assert found["directions"]["count"] >= 0


# --- staircase


@pytest.fixture(scope="module")
def run():
    return ask("staircase/run", steps=150, width=12, depth=2, seed=3)


def test_the_run_is_consistent(run):
    eigenvalues = np.array(run["eigenvalues"])
    assert (np.array(run["rank"]) == (eigenvalues > run["eps"]).sum(1)).all()
    assert run["step"][0] == 0
    assert run["step"][-1] == 150
    assert np.array(run["features"]).shape == (len(run["step"]), 12, 48)
    assert run["loss"][-1] < run["loss"][0]
    # The loss of the last look is that of the output shown (every other training point of it).
    shown = np.mean((np.array(run["output"])[-1] - run["target"]) ** 2)
    assert abs(shown - run["loss"][-1]) < 0.1 * run["loss"][-1]


def test_the_run_is_reproducible_and_depends_on_its_seed(run):
    again = ask("staircase/run", steps=150, width=12, depth=2, seed=3)
    other = ask("staircase/run", steps=150, width=12, depth=2, seed=4)
    assert strict_json(again) == strict_json(run) != strict_json(other)


@pytest.mark.slow
def test_the_runs_code_runs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(run["python"].replace("seeds=2", "seeds=1"), {})
    assert (tmp_path / "staircase.pdf").stat().st_size > 1000


def test_the_standard_run_ships_with_the_package(monkeypatch):
    monkeypatch.setattr(staircase, "trained", lambda _: pytest.fail("trained although it is recorded"))
    shipped = ask("staircase/run")
    assert len(strict_json(shipped)) < 200_000
    assert shipped["step"][-1] == staircase.STANDARD.steps
    assert shipped["rank"] == (np.array(shipped["eigenvalues"]) > shipped["eps"]).sum(1).tolist()
    assert shipped["rank"][0] < shipped["rank"][-1] <= shipped["width"]


@pytest.mark.slow
def test_the_recorded_run_is_what_training_gives():
    recorded, now = staircase.recorded(), json.loads(strict_json(staircase.trained(staircase.STANDARD)))
    assert recorded.keys() == now.keys()
    for name in ("step", "width", "eps", "python", "x", "target"):
        assert recorded[name] == now[name], f"{name}: call theodolite.report.explorer.views.staircase.record()"
    # Another machine rounds otherwise, and training carries that on: the same to the eye, not to the digit.
    for name in ("loss", "output", "features", "eigenvalues"):
        known = np.array(recorded[name])
        np.testing.assert_allclose(now[name], known, rtol=0.02, atol=2e-3 * np.abs(known).max(), err_msg=name)
    resolved = (known := np.array(recorded["eigenvalues"])) > 1e-5  # a hundredth of ε
    np.testing.assert_allclose(np.array(now["eigenvalues"])[resolved], known[resolved], rtol=0.05)
    assert np.abs(np.array(recorded["rank"]) - now["rank"]).max() <= 1


# --- linear regions


def test_regions_tile_the_square_and_hold_the_function(tmp_path, monkeypatch):
    r = ask("regions/network", hidden="5,4", seed=2)
    assert abs(sum(region["area"] for region in r["regions"]) - 4) < 1e-4
    assert r["count"] == len(r["regions"]) <= r["bound"]
    assert r["shallow"]["proved"]
    assert r["shallow"]["gap"] < 1e-12
    names = {}
    monkeypatch.chdir(tmp_path)
    exec(r["python"], names)
    model = names["model"]
    for region in r["regions"]:
        centre = np.mean(region["vertices"], axis=0)
        direct = float(model(torch.tensor(centre)).detach())
        assert abs(region["slope"] @ centre + region["constant"] - direct) < 1e-4
        half = region["half_spaces"]
        assert (half["normal"] @ centre + half["constant"] <= 1e-6).all()


def test_edits_replace_single_weights():
    plain = ask("regions/network", hidden="3", seed=0)
    places = 3 * 3 + 4
    edited = ask("regions/network", hidden="3", seed=0, edits="0:2.5,12:-1")
    assert edited["layers"][0]["weight"][0, 0] == 2.5
    assert edited["layers"][1]["bias"][0] == -1
    np.testing.assert_array_equal(edited["layers"][0]["weight"][1:], plain["layers"][0]["weight"][1:])
    with pytest.raises(ArgumentError, match=f"below {places}"):
        ask("regions/network", hidden="3", edits=f"{places}:1")


@pytest.mark.parametrize("edits", [",".join(f"{k}:0" for k in range(13)), "0:1,1:1,2:1,3:1,4:1,5:1,6:0,7:0,8:0", "0:10,1:-10"])
def test_degenerate_networks_are_drawn(edits):
    r = ask("regions/network", hidden="3", edits=edits)
    assert r["count"] >= 1
    assert r["shallow"]["proved"]


# --- double descent


@pytest.mark.parametrize("kind", ["cosine", "relu", "erf"])
def test_the_fit_that_is_shown_has_the_error_that_is_told(kind):
    c = ask("descent/curve", kind=kind, samples=12, noise=0.1, ridge=0.01)
    s = c["shown"]
    for k in (0, 10, len(c["widths"]) - 1):
        error = np.mean((s["fits"][k] - s["truth"]) ** 2)
        assert c["test"]["low"][k] * 0.99 - 1e-6 <= error <= c["test"]["high"][k] * 1.01 + 1e-6


def test_there_is_a_peak_at_the_threshold_and_ridge_removes_it():
    c = ask("descent/curve")
    median, widths = np.array(c["test"]["median"]), np.array(c["widths"])
    assert abs(widths[median.argmax()] - c["samples"]) <= 0.5 * c["samples"]
    assert median[-1] < 0.01 * median.max()
    assert np.array(c["train"]["median"])[widths > 25].max() < 1e-10
    assert max(ask("descent/curve", ridge=0.1)["test"]["median"]) < 1


def test_digits_and_bounds():
    c = ask("descent/curve", data="digits", samples=30, noise=0.2)
    assert np.array(c["shown"]["images"]).shape == (12, 64)
    assert len(c["shown"]["predicted"]) == len(c["widths"])
    with pytest.raises(ArgumentError, match="samples must be at most 60"):
        ask("descent/curve", samples=61)


def test_warnings_become_notes():
    notes = ask("condensation/point", activation="square", target="four_points")["notes"]
    assert isinstance(notes, list)
    with pytest.raises(UnknownNameError, match="endpoint"):
        ask("phase/plan")
