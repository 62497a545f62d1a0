"""Exact linear regions, and deep ReLU networks as three-layer ones."""
