"""``theodolite verify`` writes one table of verdicts into several pages, and the rows behind it."""

import json
from pathlib import Path

import pytest

from theodolite.cli.verify import main
from theodolite.core.errors import ArgumentError, StoreError


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


def test_a_chapter_gets_the_evidence_of_its_topic(tmp_path: Path) -> None:
    page, out = tmp_path / "chapter.md", tmp_path / "rows.json"
    page.write_text("<!-- claims rank:begin -->\n<!-- claims rank:end -->\nafter\n", encoding="utf-8")
    assert main(["rank.theorems", "--store", str(tmp_path / "store"), "--out", str(out), "--into", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert all(row["evidence"].replace("|", "\\|") in text for row in json.loads(out.read_text(encoding="utf-8")))
    assert text.endswith("<!-- claims rank:end -->\nafter\n")


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(ArgumentError, match="claims:begin"):
        main(["rank.theorems", "--store", str(tmp_path / "store"), "--into", str(page)])
    assert page.read_text(encoding="utf-8") == "nothing"


def test_verdicts_of_an_earlier_run_take_the_place_of_these(tmp_path: Path) -> None:
    page, first, edited = (tmp_path / name for name in ("page.md", "first.json", "edited.json"))
    page.write_text("<!-- claims:begin -->\n<!-- claims:end -->\n", encoding="utf-8")
    words = ["rank.theorems", "--store", str(tmp_path / "store")]
    assert main([*words, "--out", str(first)]) == 0
    row, *_ = rows = json.loads(first.read_text(encoding="utf-8"))
    edited.write_text(json.dumps([row | {"verdict": "undecided", "scale": "paper"}]), encoding="utf-8")
    assert main([*words, "--into", str(page), "--over", str(edited)]) == 0
    table = page.read_text(encoding="utf-8")
    assert table.count("| **undecided** | paper |") == 1
    assert table.count("| small |") == len(rows) - 1
    edited.write_text("[1]", encoding="utf-8")
    with pytest.raises(StoreError, match="no table of claims"):
        main([*words, "--into", str(page), "--over", str(edited)])
    assert page.read_text(encoding="utf-8") == table
