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
    # problems
    "FUNCTIONS",
    "PROBLEMS",
    "Condition",
    "Problem",
    "allen_cahn",
    "burgers",
    "heat",
    "helmholtz_1d",
    "helmholtz_2d",
    "laplacian",
    "poisson_1d",
    "poisson_2d",
    # solvers
    "PINN",
    "RandomFeatures",
    "Solution",
    "fit",
    "solve_elm",
    "solve_rfm",
    # initialisers
    "deterministic_init_",
    "uniform_density_init_",
    # errors and residuals
    "apply_operator",
    "relative_error",
    "residual",
]
