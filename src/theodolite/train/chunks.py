"""Chunks of members: member e always sits in slot e mod C of a chunk of C, so that its numbers do not depend on its company.

Vectorised kernels may round differently in the last elements of an array, and batched products differently by batch count.
With a chunk size that depends on the specification and the data alone, and a slot that depends on the member's number alone, a
member goes through bit-identical arithmetic whatever the size of the ensemble, the others that are still alive, or the worker.
Empty slots carry a copy of the chunk's first member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Chunk", "chunk_size", "make_chunks"]

#: Elements of the largest tensor of a chunk: enough to hide dispatch, small enough for the cache.
ELEMENTS = 1 << 14


@dataclass(frozen=True)
class Chunk:
    """Some members in their slots.

    Attributes:
        source: (C,) rows of the ensemble's tensors to read, one per slot (empty slots repeat the first member).
        slots: slots that hold members.
        rows: the members' rows, in the order of ``slots``.
    """

    source: Tensor
    slots: Tensor
    rows: Tensor

    def gather(self, stacked: Tensor) -> Tensor:
        """A contiguous copy of the members' part of an ``[E, …]`` tensor, (C, …)."""
        return stacked.index_select(0, self.source)

    def scatter(self, part: Tensor, stacked: Tensor) -> None:
        """Write the members' part back into the ``[E, …]`` tensor."""
        stacked.index_copy_(0, self.rows, part.index_select(0, self.slots))


def chunk_size(elements_per_member: int, elements: int = ELEMENTS) -> int:
    """Members per chunk: the largest power of two that keeps a chunk's largest tensor within ``elements``; at least 1.

    Example:
        >>> chunk_size(4000), chunk_size(10), chunk_size(10**6)
        (4, 1024, 1)
    """
    return 1 << max(0, min(10, (elements // max(1, elements_per_member)).bit_length() - 1))


def make_chunks(
    members: Sequence[int], rows: Sequence[int], size: int, device: torch.device | str = "cpu", slots: bool = True
) -> list[Chunk]:
    """Place the members of some rows into chunks, each in its own slot (member mod size).

    Args:
        members: number of every member of the ensemble, by row.
        rows: rows to place.
        size: C.
        device: where the index tensors live.
        slots: False for kernels that treat members one by one: chunks of up to ``size``, without empty slots.

    Example:
        >>> [(c.slots.tolist(), c.rows.tolist()) for c in make_chunks(range(5), range(5), 4)]
        [([0, 1, 2, 3], [0, 1, 2, 3]), ([0], [4])]
    """
    if not slots:
        parts = [np.asarray(rows[low : low + size]) for low in range(0, len(rows), size)]
        return [Chunk(*(torch.as_tensor(i, device=device) for i in (part, np.arange(len(part)), part))) for part in parts]
    queues: list[list[int]] = [[] for _ in range(size)]
    for row in rows:
        queues[int(members[row]) % size].append(int(row))
    chunks = []
    for level in range(max((len(q) for q in queues), default=0)):
        slots = [s for s in range(size) if len(queues[s]) > level]
        chosen = [queues[s][level] for s in slots]
        source = np.full(size, chosen[0])
        source[slots] = chosen
        chunks.append(Chunk(*(torch.as_tensor(np.asarray(i), device=device) for i in (source, slots, chosen))))
    return chunks
