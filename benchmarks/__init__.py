"""Benchmarks: ours beside every peer, and the machine's floor, in one process and one thread."""
