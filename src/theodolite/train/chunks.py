"""Chunks of members, laid out so that a member's numbers do not depend on its company.

Batched products may round differently at different alignments, and vectorised kernels in the last elements of an array. With a chunk
size C that depends on the specification and the data alone, a slot e mod C that depends on the member's number alone, and at least
one idle slot behind the last member, a member goes through bit-identical arithmetic whatever the size of the ensemble, whoever else
is still alive, and whichever worker trains it. Idle slots carry a copy of the chunk's first member. Before every run it is verified
(`theodolite.train.backends.choose`) that the number of slots in use does not matter, else chunks are always full; and whether the
slot itself matters: where it does not, chunks are packed densely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Chunk", "Layout", "chunk_size", "make_chunks", "side_by_side"]

#: Most members of a chunk.
MOST = 1 << 10


@dataclass(frozen=True)
class Layout:
    """How members are laid out in chunks.

    Attributes:
        size: slots of a full chunk, C.
        slotted: member e sits in slot e mod C; False where a member may sit in any slot.
        idle: idle slots behind the last member; None: all up to C, for kernels of one fixed shape.
    """

    size: int
    slotted: bool = True
    idle: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Some members in their slots.

    Attributes:
        source: (slots,) rows of the ensemble's tensors to read, one per slot (idle slots repeat the first member).
        slots: slots that hold members.
        rows: the members' rows, in the order of ``slots``.
    """

    source: Tensor
    slots: Tensor
    rows: Tensor

    def gather(self, stacked: Tensor) -> Tensor:
        """A contiguous copy of the members' part of an ``[E, …]`` tensor, (slots, …)."""
        return stacked.index_select(0, self.source)

    def scatter(self, part: Tensor, stacked: Tensor) -> None:
        """Write the members' part back into the ``[E, …]`` tensor."""
        stacked.index_copy_(0, self.rows, part.index_select(0, self.slots))


def chunk_size(elements_per_member: int, elements: int) -> int:
    """Members per chunk: the largest power of two that keeps a chunk's largest tensor within ``elements``; at least 1.

    Example:
        >>> chunk_size(4000, 16384), chunk_size(10, 16384), chunk_size(10**6, 16384)
        (4, 1024, 1)
    """
    return min(MOST, 1 << max(0, (elements // max(1, elements_per_member)).bit_length() - 1))


def make_chunks(members: Sequence[int], rows: Sequence[int], layout: Layout, device: torch.device | str = "cpu") -> list[Chunk]:
    """Place the members of some rows into chunks.

    Args:
        members: number of every member of the ensemble, by row.
        rows: rows to place.
        layout: the layout.
        device: where the index tensors live.

    Example:
        >>> [(c.source.tolist(), c.rows.tolist()) for c in make_chunks(range(5), range(5), Layout(4, idle=1))]
        [([0, 1, 2, 3, 0], [0, 1, 2, 3]), ([4, 4], [4])]
    """
    chunks = []
    for chosen in _companies(members, rows, layout):
        slots = [int(members[row]) % layout.size for row in chosen] if layout.slotted else list(range(len(chosen)))
        length = layout.size if layout.idle is None else max(slots) + 1 + layout.idle
        source = np.full(length, chosen[0])
        source[slots] = chosen
        chunks.append(Chunk(*(torch.as_tensor(np.asarray(i), device=device) for i in (source, slots, chosen))))
    return chunks


def side_by_side(sizes: Sequence[int]) -> list[int]:
    """Members' numbers with which several ensembles can be trained as one, each with the bits that it has by itself.

    Row j of every part sits in the slot j mod C that it has in an ensemble of its own, whatever the chunk size C.

    Args:
        sizes: number of members of each part.

    Returns:
        One number per member, part after part, for ``Ensemble(spec, members, seed=[one seed per member])``.

    Example:
        >>> side_by_side([2, 3])
        [0, 1, 1024, 1025, 1026]
    """
    stride = MOST * -(-max(sizes, default=1) // MOST)
    return [stride * part + j for part, size in enumerate(sizes) for j in range(size)]


def _companies(members: Sequence[int], rows: Sequence[int], layout: Layout) -> list[list[int]]:
    """Rows that share a chunk: at most one per slot, in order of their slots."""
    if not layout.slotted:
        return [list(rows[low : low + layout.size]) for low in range(0, len(rows), layout.size)]
    queues: list[list[int]] = [[] for _ in range(layout.size)]
    for row in rows:
        queues[int(members[row]) % layout.size].append(int(row))
    return [[q[level] for q in queues if len(q) > level] for level in range(max((len(q) for q in queues), default=0))]
