r"""
Run a phase diagram on Slurm
============================

A phase diagram is a grid of experiments. Here is one of your own, from a file of thirty
lines to a figure: planned, run as a job array, resumed, loaded. Everything on this page
was run as it stands, the job script too: a batch script is a shell script, and
``sbatch`` only adds the machines. The section on a cluster that grows and shrinks needs
``dask-jobqueue``: ``pip install 'theodolite[slurm]'``.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp(prefix="phase-"))

# %%
# The experiment
# --------------
#
# A frozen dataclass whose fields are the settings, and a method ``run`` that returns
# named results. It needs no base class. Here: how alike are two inputs after thirty
# layers of a random tanh network, and what does theory say?

_ = (folder / "signals.py").write_text('''
"""Correlation of two inputs after many random layers, measured and predicted."""

from dataclasses import dataclass

import numpy as np

from theodolite import meanfield


@dataclass(frozen=True)
class Signals:
    """A random tanh network at (σ_w², σ_b²)."""

    sigma_w2: float
    sigma_b2: float
    seed: int = 0
    width: int = 200
    depth: int = 30

    def run(self):
        """χ₁ and c* of theory; the correlation that one network shows."""
        draw = np.random.default_rng(self.seed)
        z = draw.standard_normal((2, self.width))
        for _ in range(self.depth):
            weights = draw.standard_normal((self.width, self.width))
            weights *= np.sqrt(self.sigma_w2 / self.width)
            biases = draw.standard_normal(self.width) * np.sqrt(self.sigma_b2)
            z = np.tanh(z) @ weights.T + biases
        lengths = np.linalg.norm(z, axis=1)
        return {
            "chi_1": meanfield.chi_1("tanh", self.sigma_w2, self.sigma_b2),
            "c_star": meanfield.c_star("tanh", self.sigma_w2, self.sigma_b2),
            "correlation": float(z[0] @ z[1] / lengths.prod()),
        }
''')

# %%
# The grid
# --------
#
# A sweep is a file. The store belongs to the sweep alone; results are committed tile by
# tile, so that whatever happens to a job, what it has finished is kept, and running
# again computes what is missing.

_ = (folder / "phase.yaml").write_text("""\
experiment: signals:Signals
over:
  sigma_w2: {linspace: [0.5, 3.5, 13]}
  sigma_b2: {linspace: [0.01, 0.3, 7]}
  seed: [0, 1]
fixed: {depth: 30}
store: phase.store
tile: 13
""")


def shell(command: str, **environment: str) -> None:
    """Run a command in the folder and show what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"$ {command}\n{done.stdout}{done.stderr if done.returncode else ''}")


shell("theodolite sweep plan phase.yaml")

# %%
# The job array
# -------------
#
# Each task takes every N-th tile. There is no scheduler process to keep alive, tasks
# may start in any order and on any machine that sees the folder, and a task that is
# requeued goes on where it was.

_ = (folder / "job.sh").write_text("""\
#!/bin/bash
#SBATCH --job-name=phase
#SBATCH --array=0-1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=00:20:00
#SBATCH --requeue

theodolite sweep run phase.yaml --shard "$SLURM_ARRAY_TASK_ID/2"
""")

# %%
# On a cluster: ``sbatch job.sh``. Here, without one, the array's two tasks run one
# after the other: the same script, with the variable that Slurm would set.

shell("bash job.sh", SLURM_ARRAY_TASK_ID="0")
shell("bash job.sh", SLURM_ARRAY_TASK_ID="1")
shell("theodolite sweep status phase.yaml")

# %%
# Workers instead of shards
# -------------------------
#
# Where jobs may talk to each other, Dask balances the load: ``theodolite sweep run
# phase.yaml --workers 100 --engine dask --address
# "slurm?queue=cpu&memory=4GB&walltime=01:00:00"`` submits jobs as long as there is
# work, and retires each before its walltime ends it. What it would submit can be looked
# at without a cluster.

from theodolite.lab import batch_cluster

with batch_cluster(
    "slurm", queue="gpu", memory="16GB", walltime="04:00:00", gpus=1
) as cluster:
    print(
        "\n".join(
            line
            for line in cluster.job_script().splitlines()
            if line.startswith("#SBATCH")
        )
    )

# %%
# The result
# ----------
#
# The store is read as an xarray dataset over the axes of the grid, also while jobs are
# still running.

os.chdir(folder)
sys.path.insert(0, str(folder))

import theodolite as td

data = td.Sweep.open(folder / "phase.store").load()
print(data)

# %%
# Theory and networks, side by side. The line is :math:`\chi_1 = 1`: on its left inputs
# become alike, on its right they are torn apart.

with td.draw.style():
    figure, axes = td.draw.figure(1, 2, sharey=True)
    grid = data.mean("seed")
    for axis, name, title in (
        (axes[0], "c_star", "theory: c*"),
        (axes[1], "correlation", "networks of width 200, 30 layers"),
    ):
        drawn = axis.pcolormesh(
            grid.sigma_w2,
            grid.sigma_b2,
            grid[name].transpose("sigma_b2", "sigma_w2"),
            vmin=0,
            vmax=1,
        )
        axis.contour(
            grid.sigma_w2,
            grid.sigma_b2,
            grid["chi_1"].transpose("sigma_b2", "sigma_w2"),
            levels=[1.0],
            colors="white",
        )
        axis.set(xlabel="σ_w²", title=title)
        axis.grid(False)
    axes[0].set_ylabel("σ_b²")
    figure.colorbar(drawn, ax=axes, label="correlation of two inputs")
