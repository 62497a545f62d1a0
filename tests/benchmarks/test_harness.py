"""The bench's rules: results before times, goals, floors, peers that are not there, what is written."""

import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.elsewhere import Elsewhere, PeerError  # noqa: E402
from benchmarks.goals import judge  # noqa: E402
from benchmarks.machine import Work, rates  # noqa: E402
from benchmarks.memory import peak_of, resident  # noqa: E402
from benchmarks.scaling import Curve, draw, exponent, measure_curves  # noqa: E402
from benchmarks.table import page, seconds  # noqa: E402

from benchmarks import elsewhere, measure, run  # noqa: E402


def case(**attributes):
    made = types.SimpleNamespace(TITLE="sums", TOLERANCE=1e-9)
    made.__dict__.update(attributes)
    return made


def busy(size):
    return lambda: np.arange(float(size)).sum(keepdims=True)


@pytest.fixture
def no_environments(monkeypatch, tmp_path):
    monkeypatch.setenv("THEODOLITE_BENCH_ENVIRONMENTS", str(tmp_path))


class TestMeasure:
    def test_the_schema(self):
        found = measure.measure(case(contenders=lambda quick: {"theodolite": busy(1000), "peer": busy(1000)}), quick=True)
        assert {"environment", "repeats", "max_difference", "contenders"} <= set(found)
        assert found["repeats"] == 3
        assert found["max_difference"] == 0.0
        assert [row["name"] for row in found["contenders"]] == ["theodolite", "peer"]
        assert all(row["median_s"] > 0 and row["repeats"] == 3 for row in found["contenders"])
        assert json.loads(json.dumps(found)) == found
        assert not any("/" in str(value) for value in found["environment"].values())

    def test_a_wrong_result_is_an_error_and_is_not_timed(self):
        contenders = {"theodolite": busy(10), "wrong": lambda: np.array([44.0]), "shapeless": lambda: np.zeros(2)}
        rows = measure.measure(case(contenders=lambda quick: contenders), quick=True)["contenders"]
        assert "differs by 2.2e-02" in rows[1]["error"]
        assert "shapes" in rows[2]["error"]
        assert "median_s" not in rows[1]

    def test_not_a_number_is_a_difference(self):
        contenders = {"theodolite": busy(10), "nan": lambda: np.array([np.nan])}
        rows = measure.measure(case(contenders=lambda quick: contenders), quick=True)["contenders"]
        assert "error" in rows[1]

    def test_an_approximate_contender_is_timed_and_its_error_stated(self):
        contenders = {"theodolite": busy(10), "rough": lambda: np.array([44.0])}
        found = measure.measure(case(contenders=lambda quick: contenders, APPROXIMATE=("rough",)), quick=True)
        row = found["contenders"][1]
        assert row["difference"] == pytest.approx(1 / 45)
        assert row["approximate"]
        assert row["median_s"] > 0
        assert found["max_difference"] == 0.0

    def test_a_reference_judges_ours_too(self):
        contenders = {"theodolite": lambda: np.array([2.0]), "peer": lambda: np.array([1.0])}
        rows = measure.measure(case(contenders=lambda q: contenders, reference=lambda q: np.array([1.0])), quick=True)[
            "contenders"
        ]
        assert "error" in rows[0]
        assert rows[1]["difference"] == 0.0

    def test_a_failing_contender_is_listed_with_its_error(self):
        def fails():
            raise ValueError("no such thing\nsecond line")

        rows = measure.measure(case(contenders=lambda quick: {"theodolite": busy(10), "peer": fails}), quick=True)["contenders"]
        assert rows[1] == {"name": "peer", "error": "ValueError: no such thing"}

    def test_a_share_of_the_work_is_scaled(self, monkeypatch):
        monkeypatch.setattr(measure, "timed", lambda call, clock: (call(), 0.5))
        found = measure.measure(
            case(contenders=lambda q: {"theodolite": busy(10), "slow": busy(10)}, SHARE={"slow": 0.01}), quick=True
        )
        ours, slow = found["contenders"]
        assert ours["median_s"] == 0.5
        assert slow["median_s"] == 50.0
        assert slow["share"] == 0.01

    def test_a_call_over_budget_is_made_once(self, monkeypatch):
        made = []
        monkeypatch.setattr(measure, "timed", lambda call, clock: (call(), 1e3))
        contenders = {"theodolite": lambda: made.append(1) or np.ones(1)}
        rows = measure.measure(case(contenders=lambda quick: contenders), quick=False)["contenders"]
        assert len(made) == 1
        assert rows[0]["repeats"] == 1
        assert rows[0]["median_s"] == 1e3

    def test_a_gpu_case_is_skipped_with_a_reason(self, monkeypatch):
        import torch

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        found = measure.measure(case(REQUIRES="cuda", contenders=None, GOALS={"peer": 2.0}), quick=True)
        assert "CUDA" in found["skipped"]
        assert found["contenders"] == []
        assert judge(case(GOALS={"peer": 2.0}), found)[0]["met"] is None
        assert "Skipped: no CUDA device" in page([{"case": "g", **found}])


class TestGoals:
    RESULT = {
        "contenders": [
            {"name": "theodolite", "median_s": 1.0, "working_mb": 5.0},
            {"name": "variant", "median_s": 2.0},
            {"name": "peer", "median_s": 10.0},
            {"name": "gone", "error": "ModuleNotFoundError: no"},
        ]
    }

    @pytest.mark.parametrize(
        ("goals", "met"),
        [
            ({"peer": 10.0}, True),
            ({"peer": 10.1}, False),
            ({("variant", "peer"): 5.0}, True),
            ({("variant", "peer"): 5.1}, False),
            ({"variant": 1 / 1.3}, True),
            ({("variant", "theodolite"): 1 / 1.3}, False),
            ({"gone": 2.0}, None),
            ({"never": 2.0}, None),
        ],
    )
    def test_ratios(self, goals, met):
        assert [entry["met"] for entry in judge(case(GOALS=goals), self.RESULT)] == [met]

    @pytest.mark.parametrize(
        ("limits", "met"),
        [({"median_s": 1.0}, True), ({"median_s": 0.5}, False), ({"working_mb": 4}, False), ({"peak_rss_mb": 4}, None)],
    )
    def test_limits(self, limits, met):
        assert [entry["met"] for entry in judge(case(LIMITS=limits), self.RESULT)] == [met]

    def test_the_page_says_that_a_goal_is_missed(self):
        result = {"case": "one", "title": "A case", "max_difference": 0.0, "tolerance": 1e-9, **self.RESULT}
        result["goals"] = judge(case(GOALS={"peer": 20.0, "variant": 1.5, "gone": 3.0}), result)
        text = page([result])
        assert "| one | ≥ 20× peer | 10× | **missed** |" in text
        assert "| one | ≥ 1.5× variant | 2× | met |" in text
        assert "| one | ≥ 3× gone | ModuleNotFoundError: no | not measured |" in text
        assert "| gone | ModuleNotFoundError: no |" in text


class TestElsewhere:
    def test_results_and_costs_come_from_the_other_process(self, no_environments):
        call = Elsewhere("none", "benchmarks.peers.networks:sequential", {"layers": [(np.ones((2, 3)), np.zeros(2))]})
        with pytest.raises(PeerError, match="positional argument|missing"):
            call()  # a network wants its input: what is prepared is called without arguments
        norm = Elsewhere("none", "functools:partial", {})
        with pytest.raises(PeerError, match="TypeError"):
            norm()
        pid = Elsewhere("none", "benchmarks.peers.networks:process", {})
        first, second = pid(), pid()
        assert first == second != os.getpid()
        assert pid.wall > 0
        assert pid.peak is None or pid.peak["peak_rss_mb"] > 0
        pid.close()

    def test_a_missing_peer_is_listed_with_its_error_and_the_way_out(self, no_environments):
        peer = Elsewhere("torch", "benchmarks.peers.curvature:no_such_peer", {})
        missing = Elsewhere("torch", "no_such_package.calls:make", {})
        found = measure.measure(case(contenders=lambda q: {"theodolite": busy(10), "peer": peer, "missing": missing}), quick=True)
        ours, first, second = found["contenders"]
        assert "median_s" in ours
        assert first["error"].startswith("AttributeError")
        assert (
            second["error"]
            == "ModuleNotFoundError: No module named 'no_such_package' (environment 'torch' is not built: make bench-peers)"
        )

    def test_the_environment_is_used_where_it_is_built(self, tmp_path, monkeypatch):
        monkeypatch.setenv("THEODOLITE_BENCH_ENVIRONMENTS", str(tmp_path))
        assert elsewhere.interpreter("jax") == (sys.executable, False)
        (tmp_path / "jax" / "bin").mkdir(parents=True)
        (tmp_path / "jax" / "bin" / "python").touch()
        assert elsewhere.interpreter("jax") == (str(tmp_path / "jax" / "bin" / "python"), True)

    def test_requirements_are_pinned(self):
        from benchmarks.environments.__main__ import requirements

        assert any(line.startswith("neural-tangents==") for line in requirements("jax.alone"))
        assert all("==" in line for line in requirements("torch"))
        assert requirements("nowhere") == []


class TestFloorsAndScaling:
    def test_the_greatest_of_the_times_is_the_floor(self, monkeypatch):
        monkeypatch.setattr("benchmarks.machine.rates", lambda device: {"matrix_float64": 1e9, "copy": 1e9})
        monkeypatch.setattr("benchmarks.machine.per_element", lambda name, dtype: 1e-9)
        assert Work(flops=2e9, traffic=1e9).seconds()[0] == 2.0
        assert Work(flops=2e9, traffic=3e9).seconds()[0] == 3.0
        assert Work(flops=2e9, elements={"tanh": 4e9}).seconds() == (4.0, "elements: 4e+09 tanh")

    def test_rates_are_measured(self):
        found = rates()
        assert found["matrix_float32"] > found["matrix_float64"] * 0.5 > 1e8
        assert found["copy"] > 1e8

    def test_the_exponent_of_an_exact_power(self):
        slope, error = exponent([1, 2, 4, 8], [3.0 * s**1.5 for s in (1, 2, 4, 8)])
        assert slope == pytest.approx(1.5, abs=1e-12)
        assert error == pytest.approx(0, abs=1e-12)

    def test_a_measured_curve_grows(self):
        def make(n):
            a = np.ones(n)
            return lambda: a.sum()

        (row,) = measure_curves([Curve("sum", "n", (10**5, 10**6, 10**7), 1, make)], repeats=3, budget=1.0)
        assert row["values"] == [10**5, 10**6, 10**7]
        assert 0.5 < row["exponent"] < 1.6
        assert row["expected"] == 1

    def test_the_figure(self, tmp_path):
        row = {"name": "a", "variable": "n", "values": [1, 2, 4], "seconds": [1.0, 2.0, 4.0], "exponent": 1.0}
        row |= {"standard_error": 0.0, "last": 1.0, "expected": 1}
        draw([row] * 5, tmp_path / "scaling.png")
        assert (tmp_path / "scaling.png").stat().st_size > 10_000

    def test_peak_memory_of_a_call(self):
        if resident("VmHWM") is None:
            pytest.skip("this system does not tell a process's high-water mark")
        result, peak = peak_of(lambda: float(np.ones(20_000_000).sum()))
        assert result == 2e7
        assert 140 < peak["working_mb"] < 400


class TestCommand:
    def test_an_unknown_case_suggests_the_nearest(self, capsys):
        assert run.main(["rank_smal"]) == 2
        assert "'rank_small'" in capsys.readouterr().err

    def test_nothing_like_it(self, capsys):
        assert run.main(["zzz"]) == 2
        assert "known: condensation_phase_diagram" in capsys.readouterr().err

    def test_every_case_is_well_formed(self):
        import importlib

        for name in run.names():
            module = importlib.import_module(f"benchmarks.cases.{name}")
            assert module.TITLE
            assert callable(module.contenders)
            for factor in getattr(module, "GOALS", {}).values():
                assert factor > 0
            if hasattr(module, "floor"):
                assert isinstance(module.floor(True), Work)

    @pytest.mark.slow
    def test_a_case_by_the_command(self):
        done = subprocess.run(
            [sys.executable, "-m", "theodolite", "bench", "rank_stable", "--quick"],
            cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, "THEODOLITE_BENCH_ENVIRONMENTS": "/nowhere"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "theodolite" in done.stdout
        assert "ndtracker" in done.stdout

    def test_durations(self):
        assert [seconds(v) for v in (2.0, 3e-3, 4e-6, 5e-9)] == ["2 s", "3 ms", "4 µs", "5 ns"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpu_engine", "gpu_kernel", "gpu_rank"])
def test_the_gpu_suite_agrees_with_itself_on_a_processor(name):
    import importlib

    module = importlib.import_module(f"benchmarks.cases.{name}")
    first, *others = (call() for call in module.contenders(True, device="cpu").values())
    assert all(measure.difference(first, other) <= module.TOLERANCE for other in others)
    assert math.isfinite(float(np.sum(first)))
