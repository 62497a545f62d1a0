"""A run that is killed at any time goes on to the same bits."""

import random
import subprocess
import sys
import time

import pytest
import torch

from theodolite.core.errors import StoreError
from theodolite.train import Ensemble, MLPSpec
from theodolite.train.checkpoint import read, write

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from theodolite.train import Ensemble, MLPSpec
ensemble = Ensemble(MLPSpec((2, 16, 16, 1), "tanh"), 3)
x = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(8, 2)
print("ready", flush=True)
record = ensemble.train(x, x.sum(1, keepdim=True) ** 2, steps=1200, optimizer="adam", lr=1e-3, schedule=range(0, 1200, 20), batch_size=4,
    probes={"norm": lambda view: view.parameters["output.weight"].norm(dim=(1, 2))},
    checkpoint=sys.argv[1] or None, checkpoint_seconds=0.0)
torch.save([*ensemble.parameters.values(), torch.tensor(record.data["loss"].values), torch.tensor(record.data["norm"].values)], sys.argv[2])
"""


def start(checkpoint, result):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(checkpoint), str(result)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_a_killed_run_resumes_bitwise(tmp_path):
    whole = start("", tmp_path / "whole.pt")
    stream, kills = random.Random(0), 0
    while not (tmp_path / "resumed.pt").exists():
        process = start(tmp_path / "state.pt", tmp_path / "resumed.pt")
        if kills < 2:
            time.sleep(stream.uniform(0.02, 0.4))
            process.kill()
            kills += 1
        process.wait()
    assert whole.wait() == 0
    assert kills == 2
    for a, b in zip(torch.load(tmp_path / "whole.pt"), torch.load(tmp_path / "resumed.pt"), strict=True):
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))


@pytest.mark.parametrize("backend", ["eager", "numba"])
def test_a_finished_part_is_not_trained_again(tmp_path, backend):
    spec, x = MLPSpec((1, 8, 1), "tanh"), torch.linspace(-1, 1, 5)[:, None]

    class Interruption(Exception):
        pass

    def interrupt(view):
        if view.step == 40 and trial == 0:
            raise Interruption
        return view.outputs.mean((1, 2))

    arguments = {"steps": 60, "optimizer": "adam", "backend": backend, "schedule": range(0, 60, 10), "checkpoint_seconds": 0.0}
    trial = 0
    with pytest.raises(Interruption):
        Ensemble(spec, 2).train(x, x**2, probes={"mean": interrupt}, checkpoint=tmp_path / "c.pt", **arguments)
    assert read(tmp_path / "c.pt")["step"] == 30
    trial = 1
    resumed, whole = Ensemble(spec, 2), Ensemble(spec, 2)
    a = resumed.train(x, x**2, probes={"mean": interrupt}, checkpoint=tmp_path / "c.pt", **arguments)
    b = whole.train(x, x**2, probes={"mean": interrupt}, **arguments)
    assert a.data.equals(b.data)
    assert all(torch.equal(resumed.parameters[n], whole.parameters[n]) for n in whole.parameters)
    with pytest.raises(StoreError, match="another run"):
        Ensemble(spec, 2, seed=1).train(x, x**2, probes={"mean": interrupt}, checkpoint=tmp_path / "c.pt", **arguments)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(StoreError, match="no file"):
        read(tmp_path / "x.pt")
    path = write(tmp_path / "x.pt", {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="damaged"):
        read(path)
    with pytest.raises(StoreError, match="could not be written"):
        write("/proc/nowhere/x.pt", {})
