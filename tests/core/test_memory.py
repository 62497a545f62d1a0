"""The allocator's setting: made on request, declined by a variable, inherited by workers."""

import subprocess
import sys

from theodolite.core.memory import keep_large_buffers, large_buffers_environment


def test_it_can_be_declined(monkeypatch):
    monkeypatch.setenv("THEODOLITE_LARGE_BUFFERS", "0")
    assert keep_large_buffers() is False
    assert large_buffers_environment() == {}


def test_it_is_made_in_a_process_of_our_own():
    code = "from theodolite.core.memory import keep_large_buffers; print(keep_large_buffers())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sys.platform.startswith("linux"))
