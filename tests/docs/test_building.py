"""What Sphinx calls while it builds: formulas as MathML, and the pictures of gallery scripts. Needs the extra ``docs``."""

from pathlib import Path

import pytest

pytest.importorskip("sphinx_gallery", reason="the pages are built with the extra docs")


def test_a_formula_becomes_mathml_that_needs_nothing_else() -> None:
    from docutils import nodes
    from pages import mathml
    from sphinx.errors import SphinxError

    class Writer:
        def __init__(self) -> None:
            self.body: list[str] = []

    writer = Writer()
    with pytest.raises(nodes.SkipNode):
        mathml._inline(writer, nodes.math("", r"\sigma_w^2"))
    with pytest.raises(nodes.SkipNode):
        mathml._block(writer, nodes.math_block("", r"\sum_i \lambda_i"))
    inline, block = writer.body
    assert "<msubsup>" in inline
    assert "σ" in inline
    assert 'display="block"' in block
    assert not any(word in "".join(writer.body) for word in ("<script", "http://cdn", "https://"))
    with pytest.raises(SphinxError, match="nosuchcommand"):
        mathml._inline(writer, nodes.math("", r"\nosuchcommand"))


def test_a_script_shows_each_of_its_figures_once(tmp_path: Path) -> None:
    from matplotlib.figure import Figure
    from pages import figures

    first, second = Figure(), Figure()
    names = {"figure": first, "same": first, "_hidden": Figure(), "number": 3}
    paths = iter(str(tmp_path / f"{k}.png") for k in range(9))
    variables = {"example_globals": names, "image_path_iterator": paths}
    shown = figures.scrape((), variables, {"src_dir": str(tmp_path)})
    assert shown.count("0.png") >= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png"]
    names["another"] = second
    figures.scrape((), variables, {"src_dir": str(tmp_path)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png"]
