"""Adapters: the same looks as a plain `track` of the same training, in every framework and every tracker that is installed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.core.errors import MissingExtraError

QUANTITIES = ["rank.epsilon_rank", "generalization.parameter_norm"]
STEPS = 6


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 1))


X = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
Y = X[:, :1] * X[:, 1:]


def trained(sinks=()):
    """A tracked plain loop: the reference."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with td.track(model, X, quantities=QUANTITIES, when=[0, 2, 4], sinks=sinks) as run:
        for _ in range(STEPS):
            loss = ((model(X) - Y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.step(loss=loss.detach())
    return run


def same(run, reference):
    assert run.data.step.values.tolist() == reference.data.step.values.tolist()
    for name in QUANTITIES:
        np.testing.assert_allclose(run.data[name].values, reference.data[name].values, rtol=1e-6)


class Kept:
    def __init__(self):
        self.looks, self.closed = [], False

    def __call__(self, numbers, step):
        self.looks.append((step, dict(numbers)))

    def close(self):
        self.closed = True


def test_sinks_get_every_look_as_flat_numbers_and_are_closed():
    sink = Kept()
    run = trained([sink])
    assert sink.closed
    assert [step for step, _ in sink.looks] == [0, 2, 4, 6]
    assert set(sink.looks[0][1]) == {"rank.epsilon_rank/1", "generalization.parameter_norm"}
    assert set(sink.looks[1][1]) == {"rank.epsilon_rank/1", "generalization.parameter_norm", "loss"}
    assert [n["rank.epsilon_rank/1"] for _, n in sink.looks] == run.data["rank.epsilon_rank"].values[:, 0].tolist()


def test_sinks_are_closed_when_training_fails():
    sink = Kept()
    with pytest.raises(RuntimeError, match="diverged"), td.track(network(), X, sinks=[sink]):
        raise RuntimeError("diverged")
    assert sink.closed


def test_sinks_are_closed_and_the_record_is_kept_when_the_last_look_fails(tmp_path):
    sink = Kept()

    def full(numbers, step):
        if step > 0:
            raise OSError("disk full")

    with (
        pytest.raises(OSError, match="disk full"),
        td.track(network(), X, when=[0], store=tmp_path / "run", sinks=[full, sink]) as run,
    ):
        run.step()
    assert sink.closed
    assert td.Record.load(tmp_path / "run").data.step.values.tolist() == [0, 1]


def test_what_cannot_be_measured_does_not_reach_a_sink():
    sink = Kept()
    with td.track(network(), X[:5], quantities=["rank.epsilon_rank"], when=[0], sinks=[sink]):
        pass  # fewer samples than neurons
    assert sink.looks == [(0, {})]


def test_a_plain_loop_driven_by_its_optimizer():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with td.adapters.step_with(optimizer, td.track(model, X, quantities=QUANTITIES, when=[0, 2, 4])) as run:
        for _ in range(STEPS):
            optimizer.zero_grad()
            ((model(X) - Y) ** 2).mean().backward()
            optimizer.step()
    same(run, trained())
    optimizer.step()
    assert run.now == STEPS  # the hook is gone


def test_json_lines(tmp_path):
    run = trained([td.adapters.JsonLines(tmp_path / "new" / "looks.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "new" / "looks.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    assert [row["rank.epsilon_rank/1"] for row in rows] == run.data["rank.epsilon_rank"].values[:, 0].tolist()


def test_tensorboard(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    run = trained([td.adapters.TensorBoard(tmp_path)])
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(e.step, e.value) for e in events.Scalars("rank.epsilon_rank/1")]
    assert found == list(zip([0, 2, 4, 6], run.data["rank.epsilon_rank"].values[:, 0].tolist(), strict=True))


@pytest.mark.slow
def test_wandb_offline(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed; pip install 'theodolite[wandb]'")
    trained([td.adapters.WandB(project="test", mode="offline", dir=str(tmp_path))])
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"rank.epsilon_rank" in kept.read_bytes()


@pytest.mark.slow
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed; pip install 'theodolite[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as active:
        run = trained([td.adapters.MLflow()])
        assert mlflow.active_run() is not None  # the user's run stays open
    history = mlflow.MlflowClient().get_metric_history(active.info.run_id, "rank.epsilon_rank/1")
    assert [(m.step, m.value) for m in history] == list(
        zip([0, 2, 4, 6], run.data["rank.epsilon_rank"].values[:, 0].tolist(), strict=True)
    )


@pytest.mark.slow
def test_trackio(tmp_path):
    pytest.importorskip("trackio", reason="trackio is not installed; pip install 'theodolite[trackio]'")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_adapters as t; import theodolite as td\n"
        "t.trained([td.adapters.Trackio('looks')])"
    )
    here = os.path.dirname(__file__)
    settings = {**os.environ, "TRACKIO_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}  # the folder is read when it is imported
    subprocess.run([sys.executable, "-c", code, here], env=settings, check=True, capture_output=True, timeout=300)
    (kept,) = tmp_path.glob("looks*.db")
    assert b"rank.epsilon_rank" in kept.read_bytes()


@pytest.mark.slow
def test_lightning(tmp_path):
    pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed; pip install 'theodolite[lightning]'")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return ((self(batch[0]) - batch[1]) ** 2).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = td.adapters.lightning_callback(X, quantities=QUANTITIES, when=[0, 2, 4])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=len(X))
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    pl.Trainer(
        max_epochs=STEPS, accelerator="cpu", callbacks=[callback], default_root_dir=tmp_path, log_every_n_steps=1, **settings
    ).fit(Module(), loader)
    same(callback.run, trained())
    assert callback.run.data["loss"].sizes["loss_step"] == STEPS


@pytest.mark.slow
def test_transformers(tmp_path):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed; pip install 'theodolite[transformers]'"
    )
    pytest.importorskip("accelerate", reason="accelerate is not installed; pip install 'theodolite[transformers]'")

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x, labels=None):
            out = self.net(x)
            return {"logits": out} if labels is None else {"loss": ((out - labels) ** 2).mean(), "logits": out}

    callback = td.adapters.transformers_callback({"x": X}, quantities=QUANTITIES, when=[0, 2, 4])
    settings = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=STEPS, per_device_train_batch_size=len(X), logging_steps=1, save_strategy="no",
        report_to=[], use_cpu=True, disable_tqdm=True, learning_rate=0.1, lr_scheduler_type="constant", optim="sgd",
        max_grad_norm=0.0,
    )  # fmt: skip
    data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    transformers.Trainer(model=Module(), args=settings, train_dataset=data, callbacks=[callback]).train()
    assert callback.run.data.step.values.tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(
        callback.run.data["generalization.parameter_norm"].values,
        trained().data["generalization.parameter_norm"].values,
        rtol=1e-5,
    )
    assert callback.run.data["loss"].sizes["loss_step"] == STEPS


def test_a_missing_framework_comes_with_the_line_that_installs_it(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    with pytest.raises(MissingExtraError, match=r"theodolite\[transformers\]"):
        td.adapters.transformers_callback(X)
    with pytest.raises(MissingExtraError, match=r"theodolite\[wandb\]"):
        td.adapters.WandB()


def test_importing_the_adapters_imports_no_framework():
    code = (
        "import sys, theodolite as td; td.adapters.JsonLines; td.adapters.lightning_callback; td.adapters.transformers_callback\n"
        "assert not {'lightning', 'transformers', 'wandb', 'mlflow', 'trackio', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_adapter_lists_what_there_is():
    with pytest.raises(AttributeError, match="lightning_callback"):
        _ = td.adapters.tensorbord
