"""Sweeps: grids of experiments that resume, survive and run on a cluster."""

from theodolite.lab.artefact import Artefact
from theodolite.lab.blocks import Grid, fill_blocks, fill_grid
from theodolite.lab.cluster import batch_cluster, dask_executor
from theodolite.lab.status import Failure, Plan, Status
from theodolite.lab.sweep import Sweep
from theodolite.lab.workers import InProcess, WorkerDied, Workers

__all__ = [
    "Artefact",
    "Failure",
    "Grid",
    "InProcess",
    "Plan",
    "Status",
    "Sweep",
    "WorkerDied",
    "Workers",
    "batch_cluster",
    "dask_executor",
    "fill_blocks",
    "fill_grid",
]
