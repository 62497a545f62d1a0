"""Generated pages: complete with respect to the registry, true to it, and of text that Sphinx reads as it was meant."""

import ast
import inspect
from pathlib import Path

import pytest
from pages import chapters, chooser, claims, corrections, experiments, reference
from pages.folklore import CORRECTIONS
from pages.text import markdown_table, plain_to_rst, put
from pages.worries import WORRIES

from theodolite.core.errors import UnknownNameError
from theodolite.core.registry import claims as all_claims
from theodolite.core.registry import experiments as all_experiments
from theodolite.core.registry import quantities, quantity_named
from theodolite.report.verify import Row

DOCS = Path(__file__).parents[2] / "docs"


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("the length |z| and c* of `critical_init_`", r"the length \|z\| and c\* of `critical_init_`"),
        ("sigma_w2 and weights_ alike", r"sigma_w2 and weights\_ alike"),
        ("``a * b`` stays", "``a * b`` stays"),
        (r"already \| escaped", r"already \| escaped"),
    ],
)
def test_mathematics_of_a_docstring_is_not_markup(plain: str, escaped: str) -> None:
    assert plain_to_rst(plain) == escaped


def test_cells_of_tables_cannot_break_the_table() -> None:
    table = markdown_table(["|a|"], [["two\nlines | bar"]])
    assert table.splitlines() == [r"| \|a\| |", "|---|", r"| two lines \| bar |"]


def test_a_page_that_has_not_changed_keeps_its_date(tmp_path: Path) -> None:
    path = tmp_path / "below" / "page.md"
    put(path, "text")
    before = path.stat().st_mtime_ns
    put(path, "text")
    assert path.stat().st_mtime_ns == before
    put(path, "other")
    assert path.read_text() == "other"


# -- chooser ---------------------------------------------------------------------------------------------------------


def test_every_quantity_is_on_the_page() -> None:
    page = chooser.page()
    assert all(f"`{name}`" in page for name in quantities())


def test_a_quantity_without_a_worry_is_listed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "WORRIES", WORRIES[1:])
    rest = chooser.page().partition("## Other quantities")[2]
    assert all(f"`{name}`" in rest for name in WORRIES[0].quantities)
    assert "meanfield.correlation" not in rest


@pytest.mark.parametrize("worry", WORRIES, ids=lambda worry: worry.question[:40])
def test_what_a_worry_names_exists_and_its_verdicts_are_given(worry) -> None:
    assert all(chooser.summary_of(name) for name in (*worry.theory, *worry.construct))
    judges = [quantity_named(name).judge for name in worry.quantities]
    sources = "".join(inspect.getsource(inspect.getmodule(judge)) for judge in judges if judge)
    for word in worry.verdicts:
        assert f'"{word}"' in sources, f"no judge of these quantities says {word!r}"
    for page in worry.more:
        tutorial = DOCS / "tutorials" / f"{page.rpartition('/')[2]}.py"
        assert tutorial.is_file() or page.rpartition("/")[2] in chapters.ordered_topics()


def test_a_misspelt_quantity_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="chi_1"):
        chooser._row("meanfield.chi1")


# -- claims and corrections ------------------------------------------------------------------------------------------


def row_of(claim, verdict: str, scale: str = "paper") -> Row:
    return Row(claim.name, claim.statement, claim.reference, claim.experiment, verdict, "", "seen in 3 | 4 runs", "", scale, "0")


def test_every_claim_has_a_line_and_its_own_verdict() -> None:
    known = all_claims()
    page = claims.page({known[0].name: row_of(known[0], "fails")})
    assert page.count("not judged yet") == len(known) - 1
    line = next(line for line in page.splitlines() if line.startswith(f"| {known[0].statement[:20]}"))
    assert "**fails**" in line
    assert r"3 \| 4" in line


def test_stored_rows_are_of_claims_that_exist_and_paper_runs_win() -> None:
    judged = claims.rows()
    assert judged
    assert set(judged) <= {claim.name for claim in all_claims()}
    assert {"small", "paper"} >= {row.scale for row in judged.values()}


def test_every_correction_is_tested_by_a_claim_and_shows_its_verdict() -> None:
    known = {claim.name: claim for claim in all_claims()}
    assert {c.claim for c in CORRECTIONS} <= set(known)
    judged = {c.claim: row_of(known[c.claim], "undecided") for c in CORRECTIONS}
    page = corrections.page(judged)
    assert page.count("Verdict: **undecided**") == len(CORRECTIONS)
    assert corrections.page({}).count("Verdict: not judged yet") == len(CORRECTIONS)


def test_a_failure_that_nobody_wrote_about_is_listed() -> None:
    told = {c.claim for c in CORRECTIONS}
    other = next(claim for claim in all_claims() if claim.name not in told)
    assert other.statement in corrections.page({other.name: row_of(other, "fails")}).replace("\\|", "|")
    assert "Everything else" not in corrections.page({other.name: row_of(other, "holds")})
    assert "Everything else" not in corrections.page({other.name: row_of(other, "fails", scale="small")})


# -- chapters, gallery, reference ------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", chapters.ordered_topics())
def test_a_chapter_holds_its_readme_quantities_and_experiments(topic: str) -> None:
    page = chapters.chapter(topic)
    assert page.startswith("# ")
    assert all(name in page for name in quantities() if name.startswith(f"{topic}."))
    assert all(name in page for name in all_experiments() if name.startswith(f"{topic}."))


@pytest.mark.parametrize("name", sorted(all_experiments()))
def test_a_gallery_script_is_python_that_reproduces_its_experiment(name: str) -> None:
    tree = ast.parse(experiments.script(all_experiments()[name]))
    heading, line = (ast.get_docstring(tree) or "").splitlines()[:2]
    assert heading
    assert line == "=" * len(heading)
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert f"td.reproduce('{name}', scale='small')" in calls
    assert {"record.figure()", "record.verify()"} <= set(calls)


def test_every_setting_of_an_experiment_is_described() -> None:
    script = experiments.script(all_experiments()["rank.staircase"])
    for setting in ("depths", "seeds", "eps"):
        assert f"* - ``{setting}``" in script
    assert "numbers of hidden layers" in script


def test_scripts_of_experiments_that_are_gone_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / "experiments" / "rank" / "rank_gone.py"
    put(stale, "")
    experiments.write(tmp_path)
    assert not stale.exists()
    assert len(list((tmp_path / "experiments").glob("*/*.py"))) == len(all_experiments())


def test_the_reference_lists_every_name_of_every_face(tmp_path: Path) -> None:
    import theodolite as td

    reference.write(tmp_path)
    for topic in chapters.ordered_topics():
        page = (tmp_path / "reference" / f"td.{topic}.rst").read_text()
        assert all(name in page for name in getattr(td, topic).__all__)
    face = (tmp_path / "reference" / "td.rst").read_text()
    assert all(
        f":: td::{name}" in face for name in ("diagnose", "track", "compare", "Sweep", "Lens", "reproduce", "MissingExtraError")
    )
    maths = (tmp_path / "reference" / "td.maths.gaussian.rst").read_text()
    assert all(name in maths for name in td.maths.gaussian.__all__)


@pytest.mark.parametrize("path", sorted((DOCS / "tutorials").glob("*.py")), ids=lambda path: path.stem)
def test_a_tutorial_is_python_with_a_heading(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    heading, line = (ast.get_docstring(tree) or "").splitlines()[:2]
    assert line == "=" * len(heading)
