"""ε-rank and the staircase phenomenon."""
