"""Sweeps: grids of experiments that resume, survive and run on a cluster."""
