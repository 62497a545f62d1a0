"""``theodolite doctor``."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

__all__ = ["main"]

#: Optional package -> the extra that brings it.
OPTIONAL = {
    "distributed": "distributed",
    "dask_jobqueue": "slurm",
    "starlette": "explorer",
    "uvicorn": "explorer",
    "flint": "exact",
    "highspy": "exact",
    "onnx": "onnx",
    "lightning": "lightning",
    "transformers": "transformers",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "pyarrow": "parquet",
    "sphinx": "docs",
}
CORE = ("theodolite", "torch", "numpy", "scipy", "numba", "matplotlib", "xarray", "zarr", "scikit-learn", "tyro", "rich")


def main(words: Sequence[str]) -> int:
    """Print versions, devices, threads and optional packages; exit code 1 if a core package is missing."""
    if words:
        print("usage: theodolite doctor\n\nVersions, devices, threads and optional packages.")
        return 0 if words[0] in ("-h", "--help") else 2
    missing = False
    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    for package in CORE:
        try:
            print(f"  {package:<14}{version(package)}")
        except PackageNotFoundError:
            print(f"  {package:<14}MISSING: pip install theodolite brings it")
            missing = True
    if importlib.util.find_spec("torch"):
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        print(f"torch: {torch.get_num_threads()} threads, GPUs: {', '.join(gpus) or 'none'}")
    print("optional:")
    for module, extra in OPTIONAL.items():
        found = importlib.util.find_spec(module) is not None
        print(f"  {module:<14}{'installed' if found else f'not installed; pip install theodolite[{extra}] brings it'}")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    print(f"  {'chromium':<14}{browser or 'not found; browser tests are skipped'}")
    return int(missing)
