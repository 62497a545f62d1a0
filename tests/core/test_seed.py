"""Streams depend on their seed and path, and on nothing else."""

import torch

from theodolite.core.seed import child_seed, generator


def test_streams_are_reproducible_and_distinct():
    seeds = {child_seed(s, "init", e) for s in range(20) for e in range(50)}
    assert len(seeds) == 1000
    assert torch.equal(torch.randn(4, generator=generator(3, "a", 1)), torch.randn(4, generator=generator(3, "a", 1)))


def test_the_global_generator_is_not_touched():
    before = torch.random.get_rng_state()
    torch.randn(3, generator=generator(0, "x"))
    assert torch.equal(before, torch.random.get_rng_state())
