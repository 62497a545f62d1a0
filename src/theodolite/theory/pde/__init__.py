"""Networks and random features as solvers of differential equations."""
