"""The command line over a YAML spec: every word, strict keys, the exit of an interrupted run, no torch for help."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from theodolite.cli.sweep import main, read_sweep
from theodolite.core.errors import ArgumentError, StoreError, UnknownNameError

SPEC = """
experiment: lab_cells:Faulty
over:
  a: {linspace: [0.5, 1.0, 2]}
  b: [0, 1, 6]
fixed: {scale: 2.0}
store: runs/first
tile: 2
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def call(*words):
        assert main(words) == 0
        return capsys.readouterr().out

    return call


def test_a_sweep_from_plan_to_export(command):
    assert "6 cells in 3 tiles of 2" in command("plan", "spec.yaml")
    assert "6 cells in 3 tiles of 2" in command("run", "spec.yaml", "--dry-run")
    assert not Path("runs").exists()
    assert "1 of 3 tiles" in command("run", "spec.yaml", "--shard", "1/3")
    assert "1 of 3 tiles" in command("status", "spec.yaml")
    out = command("run", "spec.yaml", "--workers", "2")
    assert "6 of 6 cells (100.0%), 2 failed; 3 of 3 tiles" in out
    assert "sweep failed spec.yaml" in out
    assert "a=0.5, b=1: ValueError: b must not be 1" in command("failed", "spec.yaml")
    assert "product" in command("load", "runs/first")
    assert command("export", "spec.yaml", "out.csv").strip() == "out.csv"
    assert Path("out.csv").exists()
    data = read_sweep("spec.yaml").load()
    np.testing.assert_array_equal(data["product"].values, [[0, np.nan, np.nan], [0, np.nan, np.nan]])


def test_strict_keys(command, tmp_path):
    path = tmp_path / "wrong.yaml"
    for text, error, message in (
        (SPEC.replace("fixed:", "fixd:"), UnknownNameError, "did you mean 'fixed'"),
        (SPEC.replace("store:", "tile2:"), UnknownNameError, "tile2"),
        (SPEC.replace("store: runs/first\n", ""), ArgumentError, "lacks the key 'store'"),
        (SPEC.replace("linspace", "lins"), ArgumentError, "linspace"),
        (SPEC.replace("scale", "scal"), UnknownNameError, "did you mean 'scale'"),
        ("- 1", ArgumentError, "mapping"),
        ("a: [", ArgumentError, "no valid YAML"),
        ("experiment: x:Y\nover: [1]\nstore: s", ArgumentError, "mappings"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=message):
            command("run", str(path))
    with pytest.raises(ArgumentError, match="cannot be read"):
        command("plan", "nowhere.yaml")
    with pytest.raises(StoreError, match="no sweep"):
        command("status", str(tmp_path))


def test_an_interrupted_run_says_how_to_go_on(command, monkeypatch, capsys):
    from theodolite.lab import Sweep

    def stopped(self, *arguments):
        raise KeyboardInterrupt("stopped with 2 of 3; run again to resume")

    monkeypatch.setattr(Sweep, "run", stopped)
    with pytest.raises(SystemExit) as end:
        command("run", "spec.yaml")
    assert end.value.code == 130
    assert "run again to resume" in capsys.readouterr().err


def test_the_command_line_does_not_import_torch():
    code = "import sys, theodolite.cli.sweep; print('torch' in sys.modules, 'xarray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
