"""Multi-head attention as four linear maps at every position around a parameter-free softmax."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["multihead"]

_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def multihead(capture: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
    """Handler of ``F.multi_head_attention_forward`` for `theodolite.lens.capture.Capture`.

    The packed projection ``in_proj_weight`` is recorded as three blocks of rows. Attention with learned or zero extra keys
    (``add_bias_kv``, ``add_zero_attn``), static keys, dropout, or without batch is left to the general route.
    """
    call = _SIGNATURE.bind(*args, **kwargs)
    call.apply_defaults()
    a = call.arguments
    extras = ("bias_k", "bias_v", "static_k", "static_v")
    if a["query"].ndim != 3 or a["add_zero_attn"] or any(a[e] is not None for e in extras) or (a["training"] and a["dropout_p"]):
        return NotImplemented
    query, key, value = (_project(capture, a, i) for i in range(3))
    batch, heads, targets = query.shape[1], a["num_heads"], query.shape[0]
    size = query.shape[2] // heads
    query, key, value = (t.reshape(t.shape[0], batch * heads, size).transpose(0, 1) for t in (query, key, value))
    scores = query @ key.transpose(1, 2) / math.sqrt(size)  # (N · heads, targets, sources)
    mask = _mask(a, batch, heads, scores)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    joined = (weights @ value).transpose(0, 1).reshape(targets, batch, heads * size)
    weight, bias = a["out_proj_weight"], a["out_proj_bias"]
    out = _linear(capture, joined, weight, bias, capture.image(weight), capture.image(bias))
    if not a["need_weights"]:
        return out, None
    weights = weights.reshape(batch, heads, targets, -1)
    return out, weights.mean(1) if a["average_attn_weights"] else weights


def _linear(capture: Any, x: torch.Tensor, weight: Any, bias: Any, w: Any, b: Any) -> torch.Tensor:
    return capture.affine(x, weight, bias, (w, b)) if w or b else F.linear(x, weight, bias)


def _project(capture: Any, a: dict[str, Any], index: int) -> torch.Tensor:
    """The projection of query (0), key (1) or value (2)."""
    from theodolite.lens.capture import Image
    from theodolite.lens.uses import Piece

    x = a[("query", "key", "value")[index]]
    width = a["query"].shape[-1]
    rows = (index * width, (index + 1) * width)

    def block(packed: Any) -> tuple[Any, Any]:
        if packed is None:
            return None, None
        image = capture.image(packed)
        part = packed[rows[0] : rows[1]]
        return part, Image(part, Piece(image.piece.parameter, rows), image.scale) if image and not image.transposed else None

    if a["use_separate_proj_weight"]:
        weight = a[("q_proj_weight", "k_proj_weight", "v_proj_weight")[index]]
        w = capture.image(weight)
    else:
        weight, w = block(a["in_proj_weight"])
    bias, b = block(a["in_proj_bias"])
    return _linear(capture, x, weight, bias, w, b)


def _mask(a: dict[str, Any], batch: int, heads: int, scores: torch.Tensor) -> torch.Tensor | None:
    """Attention and padding masks joined to one additive mask that broadcasts to ``scores``."""

    def additive(mask: torch.Tensor) -> torch.Tensor:
        if mask.dtype == torch.bool:
            return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -math.inf)
        return mask.to(scores.dtype)

    total = None if a["attn_mask"] is None else additive(a["attn_mask"])
    if a["key_padding_mask"] is not None:
        padding = additive(a["key_padding_mask"])  # (N, sources)
        padding = padding[:, None, None].expand(batch, heads, 1, padding.shape[1]).reshape(batch * heads, 1, -1)
        total = padding if total is None else total + padding
    return total
