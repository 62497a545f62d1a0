"""``python -m benchmarks.environments [NAME …]`` (also ``make bench-peers``): build the peers' environments.

``NAME.txt`` is installed requirement by requirement, so that one that fails does not keep the others out; ``NAME.alone.txt`` without
dependencies. The environment ``torch`` sees the packages of this interpreter, at their versions.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from benchmarks.elsewhere import environments_folder

HERE = Path(__file__).parent
#: Environments that build on this interpreter's packages.
OVERLAYS = ("torch",)


def requirements(name: str) -> list[str]:
    """Lines of a requirement file."""
    path = HERE / f"{name}.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line for line in lines if line and not line.startswith("#")]


def build(name: str) -> list[str]:
    """Build one environment; returns what could not be installed."""
    folder = environments_folder() / name
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    fixed: list[str] = []
    if name in OVERLAYS:
        packages = next((folder / "lib").glob("python*")) / "site-packages"
        here = sysconfig.get_path("purelib")
        (packages / "overlay.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
        fixed = ["torch==" + version("torch"), "numpy==" + version("numpy")]
        (folder / "constraints.txt").write_text("\n".join(fixed) + "\n", encoding="utf-8")
    options = ["-c", str(folder / "constraints.txt")] if fixed else []
    # Together where that works, because then the versions fit each other; one by one otherwise.
    wanted = requirements(name)
    install = [python, "-m", "pip", "install", "-q", *options]
    failed: list[str] = []
    if subprocess.run([*install, *wanted], check=False).returncode:
        failed = [one for one in wanted if subprocess.run([*install, one], check=False).returncode]
    for one in requirements(f"{name}.alone"):
        if subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", one], check=False).returncode:
            failed.append(one)
    return failed


def main(names: list[str]) -> int:
    """Build all, or those named."""
    for name in names or sorted(path.stem for path in HERE.glob("*.txt") if "." not in path.stem):
        print(f"{name}: building in {environments_folder() / name}", flush=True)
        for one in build(name):
            print(f"{name}: {one} could not be installed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
