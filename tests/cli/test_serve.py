"""``theodolite serve``: options, a missing store, and a server process that answers."""

import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from theodolite.cli.main import main


def test_a_store_that_is_not_there(tmp_path, capsys):
    assert main(["serve", "--no-open", "--store", str(tmp_path / "nothing")]) == 1
    assert "error: no sweep at" in capsys.readouterr().err


def test_a_port_out_of_range(capsys):
    assert main(["serve", "--no-open", "--port", "70000"]) == 1
    assert "port must lie in 0…65535" in capsys.readouterr().err


def test_export(tmp_path, capsys, monkeypatch):
    from theodolite.report.explorer import export

    def written(path, store):
        path.write_text(f"page of {store}")
        return path

    monkeypatch.setattr(export, "export_page", written)
    assert main(["serve", "--export", str(tmp_path / "page.html"), "--store", "runs/x"]) == 0
    assert "opens without a server" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text() == "page of runs/x"


@pytest.mark.slow
def test_the_server_runs_and_ends_on_an_interrupt():
    pytest.importorskip("uvicorn", reason="the extra 'explorer' is not installed")
    server = subprocess.Popen([sys.executable, "-m", "theodolite", "serve", "--no-open"], stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())[0]
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert "Theodolite explorer" in answer.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) in (0, 130, -signal.SIGINT)
