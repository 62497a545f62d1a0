"""Backends: chosen by the job, checked against autograd, equal to each other."""

import dataclasses

import pytest
import torch

from theodolite.core.errors import NumericalError, TheodoliteWarning
from theodolite.train import Ensemble, MLPSpec
from theodolite.train.backends import choose
from theodolite.train.backends.fused import FusedBackend
from theodolite.train.chunks import Layout, make_chunks
from theodolite.train.loop import Run, Task
from theodolite.train.options import Options

X = torch.linspace(-1, 1, 4)[:, None]
Y = X**2


def chosen(spec, steps, members=1, **options):
    return Run(Ensemble(spec, members), Task(X, Y, steps), Options(**options)).backend.name


def test_the_choice_depends_on_the_job_and_not_on_the_number_of_members():
    two, deep = MLPSpec((1, 10, 1), "relu"), MLPSpec((1, 4, 4, 1), "relu")
    for members in (1, 40):
        assert chosen(two, 10, members) == "eager"
        assert chosen(two, 1000, members) == "numba"
        assert chosen(deep, 1000, members) == "eager"
        assert chosen(two, 1000, members, batch_size=2) == "eager"


def test_a_wrong_backend_is_found_out(monkeypatch):
    run = FusedBackend.run

    def wrong(self, segment):
        losses = run(self, segment)
        segment.params[0].mul_(1 + 1e-6)
        return losses

    monkeypatch.setattr(FusedBackend, "run", wrong)
    spec = MLPSpec((1, 10, 1), "relu")
    with pytest.raises(NumericalError, match="disagrees with autograd"):
        chosen(spec, 1000, backend="numba")
    with pytest.warns(TheodoliteWarning, match="using autograd"):
        assert chosen(spec, 1000) == "autograd"


def test_bits_that_depend_on_company_force_full_chunks(monkeypatch):
    from theodolite.train.backends.eager import EagerBackend

    run = EagerBackend.run

    def social(self, segment):
        losses = run(self, segment)
        segment.params[0].add_(1e-9 * segment.params[0].shape[0])
        return losses

    monkeypatch.setattr(EagerBackend, "run", social)
    choose._SETTLED.clear()
    backend = Run(Ensemble(MLPSpec((1, 10, 1), "relu"), 1), Task(X, Y, 5), Options(check=False)).backend
    choose._SETTLED.clear()
    assert backend.layout.idle is None


@pytest.mark.parametrize("bound", [False, True])
def test_chunks_are_dense_unless_bits_depend_on_the_slot(monkeypatch, bound):
    from theodolite.train.backends.eager import EagerBackend

    run = EagerBackend.run

    def placed(self, segment):
        losses = run(self, segment)
        slot = torch.arange(segment.params[0].shape[0], dtype=segment.params[0].dtype)
        segment.params[0].add_(slot.reshape(-1, 1, 1), alpha=1e-9 if bound else 0.0)
        return losses

    monkeypatch.setattr(EagerBackend, "run", placed)
    choose._SETTLED.clear()
    backend = Run(Ensemble(MLPSpec((1, 16, 1), "relu"), 1), Task(X, Y, 5), Options(check=False)).backend
    choose._SETTLED.clear()
    assert backend.layout.slotted == bound
    members = [3, 3 + backend.layout.size, 3 + 2 * backend.layout.size]
    assert len(make_chunks(members, range(3), backend.layout)) == (3 if bound else 1)


def test_chunks_keep_slots():
    layout = Layout(4, idle=1)
    for members in ([0, 1, 2, 3, 4, 5], [5, 9, 2], [13]):
        seen = []
        for chunk in make_chunks(members, range(len(members)), layout):
            for slot, row in zip(chunk.slots.tolist(), chunk.rows.tolist(), strict=True):
                assert members[row] % 4 == slot
                assert chunk.source[slot] == row
                seen.append(row)
            assert len(chunk.source) == max(chunk.slots) + 2
        assert sorted(seen) == list(range(len(members)))
    assert len(make_chunks([13], [0], dataclasses.replace(layout, idle=None))[0].source) == 4


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", torch.atan], ids=["tanh", "atan"])
def test_the_compiled_backend_agrees(activation):
    spec, found = MLPSpec((1, 6, 6, 1), activation), []
    for backend in ("compile", "eager"):
        ensemble = Ensemble(spec, 3)
        ensemble.train(X, Y, steps=20, optimizer="adam", backend=backend)
        found.append(ensemble.parameters)
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-10, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_graphs_agree_with_the_cpu():
    spec, found = MLPSpec((1, 32, 1), "tanh"), []
    for device in ("cuda", "cpu"):
        ensemble = Ensemble(spec, 5, device=device)
        record = ensemble.train(X, Y, steps=250, optimizer="adam", lr=1e-2, backend="cudagraph" if device == "cuda" else "eager")
        found.append((ensemble, record))
    for name in found[0][0].parameters:
        torch.testing.assert_close(found[0][0].parameters[name].cpu(), found[1][0].parameters[name], rtol=1e-6, atol=1e-9)


def test_importing_changes_no_thread_count():
    import subprocess
    import sys

    code = "import torch; n = torch.get_num_threads(); import theodolite.train; assert torch.get_num_threads() == n"
    subprocess.run([sys.executable, "-c", code], check=True)
