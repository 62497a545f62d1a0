"""Networks that nobody here wrote: each is diagnosed, or what cannot be seen is said by name.

They are skipped where their packages are not installed: transformers, torchcrepe, resemblyzer, silero-vad (weights inside).
"""

import importlib.util
import sys
import time
import types
from pathlib import Path

import pytest
import torch

import theodolite as td
from theodolite.core.errors import UnsupportedError


def package(name):
    """The folder of an installed package, which is not imported: its audio dependencies are not needed for its network."""
    found = importlib.util.find_spec(name)
    if found is None:
        pytest.skip(f"{name} is not installed (pip install --no-deps {name}); its trained weights are what is looked at")
    return Path(found.origin).parent


def module_at(monkeypatch, name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def tokens(*shape, vocabulary=20):
    return torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(0))


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def gpt2():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed; it brings GPT-2 and ResNet")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=20, n_positions=16, bos_token_id=1, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config)


@pytest.fixture(scope="module")
def gpt2_report(gpt2):
    start = time.process_time()
    report = td.diagnose(gpt2, tokens(20, 12))
    assert time.process_time() - start < 60
    return report


def test_gpt2_layers_and_weights_are_read_through_conv1d(gpt2, gpt2_report):
    assert gpt2_report.layers == ("transformer.h.0.mlp.act", "transformer.h.1.mlp.act")
    assert gpt2_report.widths["transformer.h.0.mlp.act"] == 128
    assert gpt2_report.unseen == ()
    # transformers' Conv1D stores (in, out) and multiplies by addmm.
    lens = td.Lens(gpt2, tokens(20, 12))
    block = gpt2.transformer.h[0].mlp
    expected = torch.cat([block.c_fc.weight.T, block.c_fc.bias[:, None]], 1)
    torch.testing.assert_close(lens.show("weights", lens.layers[0]), expected)
    torch.testing.assert_close(lens.show("outgoing", lens.layers[0]), block.c_proj.weight.T)
    read = next(layer for layer in gpt2_report.architecture.layers if layer.follower == lens.layers[0])
    assert (read.fan_in, read.width) == (32, 128)
    assert read.sigma_w2 == pytest.approx(float(block.c_fc.weight.detach().double().square().mean()) * 32)


def test_gpt2_says_what_tokens_do_not_allow(gpt2_report):
    assert "int64" in gpt2_report.skipped["meanfield.jacobian_singular_values"]
    assert "transformer.wte' (embedding" in gpt2_report.skipped["generalization.path_norm"]  # the operation is named


def test_gpt2_has_values_and_claims_no_phase(gpt2_report):
    assert all(value > 0 for value in gpt2_report["rank.epsilon_rank"].values.values())
    assert {row.verdict for row in gpt2_report["meanfield.chi_1"]} == {"of this layer alone"}
    assert all(row.prediction is None for row in gpt2_report.rows)


def test_gpt2_features_are_those_of_a_hook(gpt2):
    x = tokens(20, 12)
    lens = td.Lens(gpt2, x)
    kept = []
    gpt2.eval()
    handle = gpt2.transformer.h[1].mlp.act.register_forward_hook(lambda module, inputs, out: kept.append(out))
    with torch.no_grad():
        gpt2(x)
    handle.remove()
    torch.testing.assert_close(lens.features["transformer.h.1.mlp.act"], kept[0].reshape(-1, 128))


def test_very_many_outputs_do_not_ask_for_their_tangent_kernel():
    wide = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3000))
    skipped = td.diagnose(wide, noise(20, 3)).skipped
    assert "3,000 outputs per sample" in skipped["tangent.condition_number"]


def test_layers_with_very_many_weights_are_left_alone_unasked():
    wide = torch.nn.Sequential(torch.nn.Linear(1100, 1000), torch.nn.Tanh(), torch.nn.Linear(1000, 1))
    x = noise(10, 1100)
    report = td.diagnose(wide, x, quantities={"generalization.frobenius_norm": {}})
    assert report.rows[0].value > 0  # asked for by name
    assert "layer 1 has 1,100,000 weights" in td.diagnose(wide, x).skipped["condensation.count_directions"]


def test_long_sequences_do_not_ask_for_a_jacobian_unasked():
    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = torch.nn.LSTM(3, 4, batch_first=True), torch.nn.Linear(4, 60)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    name = "meanfield.jacobian_singular_values"
    long, short = noise(4, 200, 3), noise(4, 5, 3)
    reason = td.diagnose(Reader(), long).skipped[name]
    assert "60 outputs of 4 samples goes through 200 steps" in reason
    assert name not in td.diagnose(Reader(), short).skipped
    (asked,) = td.diagnose(Reader(), long[:1], quantities=name).profiles
    assert asked.values.shape == (1, 60)


@pytest.fixture(scope="module")
def resnet():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed; it brings GPT-2 and ResNet")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
    return transformers.ResNetForImageClassification(config)


def test_resnet_with_its_structured_output(resnet):
    x, y = noise(32, 3, 32, 32), tokens(32, vocabulary=5)
    report = td.diagnose(resnet, x, y)
    assert len(report.layers) == 7
    assert report["tangent.pl_ratio"][0].value > 0
    assert report["tangent.condition_number"][0].value > 1
    profile = next(p for p in report.profiles if p.quantity == "meanfield.jacobian_singular_values")
    assert profile.values.shape == (8, 5)
    resnet.eval()
    jacobian = torch.autograd.functional.jacobian(lambda z: resnet(z[None]).logits[0], x[0]).reshape(5, -1)
    torch.testing.assert_close(torch.from_numpy(profile.values[0]), torch.linalg.svdvals(jacobian.double()), rtol=1e-3, atol=1e-6)
    assert "batch_norm" in report.skipped["generalization.path_norm"]


def test_torchcrepe_trained_on_pitch(monkeypatch):
    root = package("torchcrepe")
    stub = types.ModuleType("torchcrepe")
    stub.PITCH_BINS = 360
    monkeypatch.setitem(sys.modules, "torchcrepe", stub)
    model = module_at(monkeypatch, "torchcrepe_model", root / "model.py").Crepe("tiny")
    model.load_state_dict(torch.load(root / "assets" / "tiny.pth", weights_only=True))
    time_axis = torch.arange(1024) / 16000
    pitches = torch.logspace(2, 3, 24)[:, None]
    waves = torch.sin(2 * torch.pi * pitches * time_axis)
    names = ["rank.epsilon_rank", "rank.stable_rank", "meanfield.correlation", "piecewise.dead_fraction"]
    report = td.diagnose(model, waves, quantities=names)
    assert len([name for name in report.layers if "relu" in name]) == 6
    assert report.unseen == ()
    ranks = [value for value in report["rank.stable_rank"].values.values() if value is not None]
    assert min(ranks) >= 1
    assert all(row.value < 1 for row in report["piecewise.dead_fraction"])


def test_resemblyzer_trained_lstm(monkeypatch):
    root = package("resemblyzer")
    stub = types.ModuleType("resemblyzer")
    stub.__path__ = [str(root)]
    audio = types.ModuleType("resemblyzer.audio")
    stub.audio = audio
    monkeypatch.setitem(sys.modules, "resemblyzer", stub)
    monkeypatch.setitem(sys.modules, "resemblyzer.audio", audio)
    module_at(monkeypatch, "resemblyzer.hparams", root / "hparams.py")
    model = module_at(monkeypatch, "resemblyzer.voice_encoder", root / "voice_encoder.py").VoiceEncoder("cpu", verbose=False)
    x = noise(16, 20, 40).abs()
    report = td.diagnose(model, x, quantities=["rank.stable_rank", "rank.epsilon_rank", "meanfield.chi_1"])
    assert "lstm" in report.layers[0]
    assert "not fed by one affine operation" in report["meanfield.chi_1"][0].measured.reason or "preactivations" in (
        report["meanfield.chi_1"][0].measured.reason
    )
    assert report.widths[report.layers[0]] == 256
    kept = td.Lens(model, x).features[report.layers[0]]
    with torch.no_grad():
        torch.testing.assert_close(kept, model.lstm(x)[0].reshape(-1, 256))
    assert report["rank.stable_rank"].values[report.layers[0]] > 1


def test_silero_is_torchscript_and_that_is_said():
    root = package("silero_vad")
    model = torch.jit.load(root / "data" / "silero_vad.jit", map_location="cpu")
    with pytest.raises(UnsupportedError, match="is TorchScript, whose operations cannot be seen"):
        td.diagnose(model, noise(4, 512))
