"""The command line: targets, data, configuration, and errors that suggest and exit non-zero."""

import json

import numpy as np
import pytest
import torch

from theodolite.cli.main import main

FACTORY = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

def cnn():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))

def tiny():
    return nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))

def points():
    return torch.randn(50, 2), torch.randn(50, 1)

def wrong():
    return 3

def raises():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def model_file(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return "my_model.py"


def test_help_and_version(capsys):
    assert main([]) == 0
    assert "usage: theodolite COMMAND" in capsys.readouterr().out
    assert main(["--version"]) == 0


def test_diagnose_on_digits_in_all_forms(model_file, capsys):
    assert main(["diagnose", "my_model.py:make", "--data", "digits", "--html", "o/r.html", "--json", "r.json", "--csv", "r.csv",
                 "--quantities", "rank.epsilon_rank", "rank.stable_rank"]) == 0  # fmt: skip
    assert "rank.epsilon_rank" in capsys.readouterr().out
    rows = json.load(open("r.json"))["rows"]  # noqa: SIM115
    assert {row["quantity"] for row in rows} == {"rank.epsilon_rank", "rank.stable_rank"}


def test_images_go_to_networks_that_want_images(model_file, capsys):
    assert main(["diagnose", "my_model.py:cnn", "--quantities", "rank.epsilon_rank"]) == 0
    assert "1437 samples" in capsys.readouterr().out


def test_npz_and_module_data(model_file, capsys):
    np.savez("d.npz", x=np.random.default_rng(0).normal(size=(30, 2)), y=np.zeros((30, 1)))
    assert main(["diagnose", "my_model.py:tiny", "--data", "d.npz", "--quantities", "rank.epsilon_rank"]) == 0
    assert "30 samples" in capsys.readouterr().out
    assert main(["diagnose", "my_model:tiny", "--data", "my_model:points", "--quantities", "rank.epsilon_rank"]) == 0
    assert "50 samples" in capsys.readouterr().out


def test_exported_programs(model_file, capsys):
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    batch = torch.export.Dim("batch", min=2)
    torch.export.save(torch.export.export(net, (torch.zeros(4, 2),), dynamic_shapes=((batch, None),)), "net.pt2")
    np.savez("d.npz", x=np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    assert main(["diagnose", "net.pt2", "--data", "d.npz", "--quantities", "rank.epsilon_rank"]) == 0
    assert "40 samples" in capsys.readouterr().out


def test_a_file_that_is_no_exported_program_is_one_line(tmp_path, capfd):
    (tmp_path / "bad.pt2").write_text("garbage")
    assert main(["diagnose", str(tmp_path / "bad.pt2")]) == 1
    error = capfd.readouterr().err
    assert "not a readable torch.export program" in error
    assert "Traceback" not in error


def test_pickles_are_refused_unless_allowed(model_file, capsys):
    torch.save(torch.nn.Sequential(torch.nn.Linear(64, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)), "m.pt")
    assert main(["diagnose", "m.pt"]) == 1
    assert "--allow-pickle" in capsys.readouterr().err
    assert main(["diagnose", "m.pt", "--allow-pickle", "--quantities", "rank.epsilon_rank"]) == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["diagnos"], 2, "did you mean 'diagnose'"),
        (["diagnose", "nowhere.py:make"], 1, "there is no file 'nowhere.py'"),
        (["diagnose", "my_model.py:mak"], 2, "did you mean 'make'"),
        (["diagnose", "my_model.py:wrong"], 1, "made a int, not a torch.nn.Module"),
        (["diagnose", "my_model.py:raises"], 1, "no weights here"),
        (["diagnose", "no.such.module:make"], 1, "cannot be imported"),
        (["diagnose", "justaword"], 1, "file.py:name"),
        (["diagnose", "my_model.py:make", "--data", "nothing"], 1, "--data must be"),
        (["diagnose", "my_model.py:make", "--data", "no.npz"], 1, "there is no file 'no.npz'"),
        (["diagnose", "my_model.py:make", "--quantities", "rank.epsilonrank"], 2, "did you mean 'rank.epsilon_rank'"),
        (["explain", "rank.epsilonrank"], 2, "did you mean 'rank.epsilon_rank'"),
        (["list", "--topic", "rnk"], 2, "did you mean 'rank'"),
        (["reproduce", "rank.staircas"], 2, "did you mean 'rank.staircase'"),
    ],
)
def test_errors_suggest_and_exit_non_zero(model_file, capsys, words, code, message):
    assert main(words) == code
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_misspelt_flag_suggests(model_file, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", "my_model.py:make", "--quantites", "x"])
    assert stop.value.code == 2
    assert "--quantities" in capsys.readouterr().err


def test_config_gives_defaults_and_flags_win(model_file, capsys):
    open("c.yaml", "w").write("target: my_model.py:tiny\ndata: my_model:points\nquantities: [rank.stable_rank]\n")  # noqa: SIM115
    assert main(["diagnose", "--config", "c.yaml"]) == 0
    assert "rank.stable_rank" in capsys.readouterr().out
    assert main(["diagnose", "--config", "c.yaml", "--quantities", "rank.epsilon_rank"]) == 0
    out = capsys.readouterr().out
    assert "rank.epsilon_rank" in out
    assert "rank.stable_rank" not in out


@pytest.mark.parametrize(
    ("text", "message"), [("dta: digits\n", "did you mean 'data'"), ("- 1\n", "must hold keys"), ("a: [", "must be YAML")]
)
def test_bad_configs(model_file, capsys, text, message):
    open("c.yaml", "w").write(text)  # noqa: SIM115
    assert main(["diagnose", "my_model.py:make", "--config", "c.yaml"]) in (1, 2)
    assert message in capsys.readouterr().err


def test_reproduce_writes_record_and_figures(model_file, capsys, tmp_path):
    assert main(["reproduce", "rank.theorems", "--scale", "small", "--trials", "20", "--out", "here"]) == 0
    assert "holds" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "here").iterdir()} == {"record.zarr", "figure.png", "figure.pdf"}
    open("s.yaml", "w").write("trials: 10\n")  # noqa: SIM115
    assert main(["reproduce", "rank.theorems", "--config", "s.yaml", "--out", "there"]) == 0
    open("s.yaml", "w").write("trails: 10\n")  # noqa: SIM115
    assert main(["reproduce", "rank.theorems", "--config", "s.yaml"]) == 2
    assert "did you mean 'trials'" in capsys.readouterr().err


def test_list_explain_doctor(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "rank.epsilon_rank" in out
    assert "rank.staircase" in out
    assert main(["list", "experiments", "--topic", "rank"]) == 0
    assert "rank.epsilon_rank" not in capsys.readouterr().out
    assert main(["explain", "rank.epsilon_rank"]) == 0
    assert "yang2024" not in capsys.readouterr().out.splitlines()[0]
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_writes_a_report_that_needs_no_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--steps", "40", "--width", "24"]) == 0
    page = (tmp_path / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert "before" in page
    assert 'src="http' not in page
    assert "report.html" in capsys.readouterr().out


def test_check_fails_on_named_verdicts(model_file, capsys):
    with open("flat.py", "w") as file:
        file.write(
            "import torch\nfrom torch import nn\ndef make():\n"
            "    net = nn.Sequential(nn.Linear(2, 40), nn.Tanh(), nn.Linear(40, 1))\n"
            "    nn.init.constant_(net[0].weight, 0.1)\n    nn.init.zeros_(net[0].bias)\n    return net\n"
        )
    np.savez("d.npz", x=np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    assert main(["check", "flat.py:make", "--data", "d.npz", "--fail-on", "chaotic,rank-collapse"]) == 1
    assert "rank.epsilon_rank" in capsys.readouterr().err
    assert main(["check", "flat.py:make", "--data", "d.npz", "--fail-on", "surely-not"]) == 2
    assert main(["check", "flat.py:make", "--data", "d.npz", "--fail-on", ","]) == 2


def test_prune_init_and_shallow(model_file, capsys, tmp_path):
    assert main(["prune", "my_model.py:make", "--eps", "1e-3", "--out", "small.pt"]) == 0
    assert "a-priori bound" in capsys.readouterr().out
    assert main(["prune", "my_model.py:make"]) == 1
    assert "exactly one" in capsys.readouterr().err
    assert main(["init", "my_model.py:tiny", "--sigma-b2", "0.1", "--out", "w.pt"]) == 0
    assert "0.1" in capsys.readouterr().out
    with open("relu.py", "w") as file:
        file.write("from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))\n")
    assert main(["shallow", "relu.py:make", "--out", "s.pt"]) == 0
    assert "equal_at_all_vertices=True" in capsys.readouterr().out
    assert {"small.pt", "w.pt", "s.pt"} <= {p.name for p in tmp_path.iterdir()}


def test_papers_and_verify(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["papers"]) == 0
    out = capsys.readouterr().out
    assert "yang2024: " in out
    assert "experiment meanfield.phase_diagram: Fig. 1" in out
    assert main(["verify", "rank.theorems", "--out", "table.md"]) == 0
    out = capsys.readouterr().out
    assert "4 holds" in out
    assert "| `rank.theorems` |" in (tmp_path / "table.md").read_text()
    assert main(["verify", "rank.theorem"]) == 2
    assert "did you mean 'rank.theorems'" in capsys.readouterr().err
