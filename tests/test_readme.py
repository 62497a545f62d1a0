"""The README's Python runs as it stands, and its table is the one that was generated."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {i}" for i in range(len(BLOCKS))])
def test_python_blocks_run(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    shown = capsys.readouterr().out
    if "print(report)" in block:  # the ten lines: a table, a certificate and a point of the critical line are printed
        assert "rank.epsilon_rank" in shown
        assert "measured, a-priori bound" in shown
        assert str(names["point"].sigma_w2) in shown
        assert all(verdict.word == "holds" for _, verdict in names["record"].verify())
    else:  # the training loop: looks were taken and drawn
        assert names["run"].data.sizes["step"] > 10
        assert names["figure"].axes


def test_the_two_commands_come_first():
    text = README.read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("```python")
    assert text.index("make test") < text.index("```python")


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target


def test_the_table_names_experiments_that_exist():
    from theodolite.core.registry import experiments

    text = README.read_text(encoding="utf-8")
    table = text[text.index("<!-- claims:begin -->") : text.index("<!-- claims:end -->")]
    named = re.findall(r"^\| `([a-z_.0-9]+)`", table, flags=re.MULTILINE)
    assert named
    assert set(named) <= set(experiments())
