"""``theodolite verify`` writes one table of verdicts into several pages, and the rows behind it."""

import json
from pathlib import Path

import pytest

from theodolite.cli.verify import main
from theodolite.core.errors import ArgumentError


def test_one_table_goes_into_several_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [tmp_path / "one.md", tmp_path / "two.md"]
    for page in pages:
        page.write_text(f"# {page.stem}\n<!-- claims:begin -->\nformer table\n<!-- claims:end -->\nafter\n", encoding="utf-8")
    out = tmp_path / "rows.json"
    words = ["rank.theorems", "--store", str(tmp_path / "store"), "--out", str(out), "--into", *map(str, pages)]
    assert main(words) == 0
    one, two = (page.read_text(encoding="utf-8") for page in pages)
    assert one.startswith("# one\n<!-- claims:begin -->\n| experiment |")
    assert one.endswith("<!-- claims:end -->\nafter\n")
    assert "former table" not in one
    assert one.partition("\n")[2] == two.partition("\n")[2]
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert rows
    assert all(row["statement"].replace("|", "\\|") in one for row in rows)
    assert capsys.readouterr().out.count("updated") == 2


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(ArgumentError, match="claims:begin"):
        main(["rank.theorems", "--store", str(tmp_path / "store"), "--into", str(page)])
    assert page.read_text(encoding="utf-8") == "nothing"
