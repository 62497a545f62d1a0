"""Formulas as MathML, made by docutils: readable without any script, font or network request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import SphinxError

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_translated(node.astext(), block=False))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{_translated(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def _translated(tex: str, *, block: bool) -> str:
    try:
        markup: str = tex2mathml(tex.strip(), as_block=block)
    except MathError as error:
        raise SphinxError(f"the formula {tex!r} cannot be translated: {error}") from error
    return markup


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
