"""Networks and random features as solvers of differential equations, with ε-rank as the explanation of what they can represent."""

from theodolite.nets.init import deterministic_init_, uniform_density_init_
from theodolite.theory.pde.features import RandomFeatures
from theodolite.theory.pde.measure import relative_error, residual
from theodolite.theory.pde.operators import apply_operator
from theodolite.theory.pde.pinn import PINN
from theodolite.theory.pde.problem import Condition, Problem
from theodolite.theory.pde.problems import (
    FUNCTIONS,
    PROBLEMS,
    allen_cahn,
    burgers,
    heat,
    helmholtz_1d,
    helmholtz_2d,
    laplacian,
    poisson_1d,
    poisson_2d,
)
from theodolite.theory.pde.solution import Solution
from theodolite.theory.pde.solve import fit, solve_elm, solve_rfm

__all__ = [
    "FUNCTIONS",
    "PINN",
    "PROBLEMS",
    "Condition",
    "Problem",
    "RandomFeatures",
    "Solution",
    "allen_cahn",
    "apply_operator",
    "burgers",
    "deterministic_init_",
    "fit",
    "heat",
    "helmholtz_1d",
    "helmholtz_2d",
    "laplacian",
    "poisson_1d",
    "poisson_2d",
    "relative_error",
    "residual",
    "solve_elm",
    "solve_rfm",
    "uniform_density_init_",
]
