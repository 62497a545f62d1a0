"""What takes tensors of an accelerator: checked in a process of its own, with a stand-in for the device."""

import re
import subprocess
import sys
from pathlib import Path


def test_everything_works_on_an_accelerator():
    here = Path(__file__).parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        str(here / "on_accelerator.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here.parents[1], timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 30
