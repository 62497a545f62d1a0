"""The CUDA-graph backend against the eager one, with a stand-in that records and replays operations on the processor.

The stand-in keeps what a graph demands: operations run again on the very memory they were recorded with, numbers on the host are
frozen, and reading a value back to the host while recording is an error.
"""

import contextlib
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from theodolite.train import Adam, Ensemble, MLPSpec
from theodolite.train.backends import choose
from theodolite.train.backends.eager import EagerBackend
from theodolite.train.loop import Run, Task
from theodolite.train.options import Options

X = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
TARGETS = {
    "mse": X**2,
    "half_mse": X**2,
    "logistic": torch.where(X > 0, 1.0, -1.0).double(),
    "exponential": torch.where(X > 0, 1.0, -1.0).double(),
    "cross_entropy": torch.tensor([0, 1, 2, 1, 0]),
}


class Graph(TorchDispatchMode):
    """Operations in the order in which they ran, to be run again on the same tensors.

    It keeps the tensors that were made while it recorded, as a graph's own pool does; those from before are the caller's to keep.
    """

    def __init__(self):
        super().__init__()
        self.operations, self.own = [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a value is read back to the host"
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        given = {id(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        self.own |= {id(t): t for t in tree_leaves(out) if id(t) not in given}
        if "empty" not in str(function):
            self.operations.append((function, *tree_map_only(torch.Tensor, self._held, (args, kwargs, out))))
        return out

    def _held(self, tensor):
        frozen = id(tensor) in self.own or not tensor.ndim  # a number in an expression is wrapped in a tensor of no dimensions
        return tensor if frozen else weakref.ref(tensor)

    def replay(self):
        for function, *held in self.operations:
            args, kwargs, out = tree_map_only(weakref.ref, alive, held)
            again = function(*args, **kwargs)
            for kept, fresh in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if kept is not fresh:
                    kept.copy_(fresh)


def alive(reference):
    tensor = reference()
    assert tensor is not None, "memory that a graph was recorded with has been given back"
    return tensor


@pytest.fixture
def graphs(monkeypatch):
    """CUDA's streams and graphs on the processor; the graphs that were made."""
    made = []

    @contextlib.contextmanager
    def record(graph, capture_error_mode):
        assert capture_error_mode == "thread_local"
        made.append(graph)
        with graph:
            yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(choose, "why_not_graphed", lambda job: "")
    return made


def trained(backend, spec, members, y, steps, **options):
    ensemble = Ensemble(spec, members, dtype=torch.float64)
    record = ensemble.train(X.expand(-1, spec.widths[0]), y, steps=steps, backend=backend, **options)
    return ensemble.parameters, record


def agree(spec, members, y, steps=50, **options):
    (ours, record), (theirs, plain) = (trained(b, spec, members, y, steps, **options) for b in ("cudagraph", "eager"))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-12, atol=1e-14)
    for key in plain.data.data_vars:
        if plain.data[key].dtype.kind == "f":
            np.testing.assert_allclose(record.data[key].values, plain.data[key].values, rtol=1e-9, atol=1e-14)
        else:
            assert (record.data[key].values == plain.data[key].values).all()
    return record


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov", Adam(eps=1e-10), "trace_gd", "normalized_gd"], ids=str)
def test_every_optimizer_is_recorded(graphs, optimizer):
    agree(MLPSpec((1, 7, 6, 1), "tanh"), 4, TARGETS["mse"], optimizer=optimizer, lr=1e-2)
    assert graphs


@pytest.mark.parametrize("loss", TARGETS)
def test_every_loss_is_recorded(graphs, loss):
    agree(MLPSpec((3, 8, 3 if loss == "cross_entropy" else 1), "relu"), 3, TARGETS[loss], loss=loss, optimizer="adam", lr=1e-2)
    assert graphs


@pytest.mark.parametrize(
    "activation",
    ["relu", "tanh", "sigmoid", "erf", "sin", "gelu", "softplus", torch.atan],
    ids=lambda a: getattr(a, "__name__", a),
)
def test_activations_are_recorded(graphs, activation):
    agree(MLPSpec((2, 6, 6, 1), activation), 2, TARGETS["mse"], optimizer="adam", lr=1e-3)
    assert graphs


def test_graphs_of_other_shapes_keep_their_memory(graphs):
    run = Run(
        Ensemble(MLPSpec((1, 8, 1), "tanh"), 7, dtype=torch.float64), Task(X, TARGETS["mse"], 40), Options(backend="cudagraph")
    )
    for slots in (4, 6, 4):
        ours, theirs = run._sample(20, slots), run._sample(20, slots)
        losses, wanted = run.backend.run(ours), EagerBackend(run.job).run(theirs)
        torch.testing.assert_close(losses, wanted, rtol=1e-13, atol=0)
        torch.testing.assert_close(ours.params, theirs.params, rtol=1e-13, atol=1e-15)
    assert len(graphs) >= 4  # 16 steps and one step, for 4 and for 6 networks


def test_members_that_stop_leave_the_others_as_they_are(graphs):
    lr = torch.tensor([1e-2, 1e3, 5e-2, 1e-3], dtype=torch.float64)
    record = agree(MLPSpec((1, 6, 1), "relu"), 4, TARGETS["mse"], steps=120, lr=lr)
    assert record.data["status"].values.tolist() == ["running", "diverged", "running", "running"]
    assert graphs
