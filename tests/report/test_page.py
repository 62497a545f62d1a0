"""The page of a report: words first, theory beside measurement, live figures in a browser, static ones in print; two reports."""

import json
import re

import numpy as np
import pytest
import torch

import theodolite as td
from theodolite.core.errors import ArgumentError, TheodoliteError
from theodolite.nets import mlp
from theodolite.report.panels import MOST_TICKS, live
from theodolite.report.pictures import pictures
from theodolite.report.report import Profile, Report

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def reports():
    """A tanh network before and after some training."""
    torch.manual_seed(0)
    split = td.data.digits(120)
    model = mlp([64, 16, 16, 10], "tanh")
    before = td.diagnose(model, split.x, split.y)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(split.x), split.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, td.diagnose(model, split.x, split.y)


@pytest.fixture(scope="module")
def page(reports, tmp_path_factory):
    before, after = reports
    return after.save(tmp_path_factory.mktemp("page") / "after.html", before=before)


def test_order_words_table_figures_methods(page):
    text = page.read_text(encoding="utf-8")
    places = [text.index(mark) for mark in ("class=summary", "<table class='grid", "<h2>Figures", "How each number was computed")]
    assert places == sorted(places)


def test_every_measured_value_and_theory_is_in_the_table(reports):
    before, _ = reports
    text = before._repr_html_()
    for row in before.rows:
        assert f"#{row.quantity}'" in text
    predicted = [row for row in before.rows if row.prediction is not None]
    assert predicted
    assert all(f"theory {row.prediction:.4g}" in text for row in predicted)


def test_every_quantity_comes_with_its_paper(reports, page):
    text = page.read_text(encoding="utf-8")
    methods = text[text.index("How each number was computed") :]
    for row in reports[1].rows:
        assert f"id='{row.quantity}'" in methods
    assert "arXiv" in methods


def test_before_and_after_say_what_changed(reports, page):
    before, after = reports
    text = page.read_text(encoding="utf-8")
    assert "What changed from before to after" in text
    old = {(r.quantity, r.layer): r.verdict for r in before.rows}
    differ = {r.quantity for r in after.rows if r.verdict and old[r.quantity, r.layer] not in ("", r.verdict)}
    assert differ
    changes = text[text.index("What changed") : text.index("<h3>Before</h3>")]
    assert all(name in changes for name in differ)


def test_deep_networks_have_layers_as_rows():
    torch.manual_seed(0)
    report = td.diagnose(
        mlp([4] + [12] * 9 + [1], "tanh"), torch.randn(40, 4), quantities=["rank.stable_rank", "meanfield.chi_1"]
    )
    text = report._repr_html_()
    assert "grid deep" in text
    assert text.count("<th scope=row>") == 9


def test_comparing_two_models(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    small, large = mlp([4, 8, 8, 1], "tanh"), mlp([4, 20, 20, 1], "relu")
    both = td.compare(small, large, x, quantities=["rank.epsilon_rank", "meanfield.chi_1"])
    alone = td.diagnose(large, x, quantities=["rank.epsilon_rank"])
    assert both.second["rank.epsilon_rank"].values == alone["rank.epsilon_rank"].values
    assert both.names == ("Sequential 1", "Sequential 2")
    assert len(both.rows()) == 4
    assert "Sequential 1" in str(both)
    assert "<table" in both._repr_html_()
    text = both.save(tmp_path / "both.html").read_text(encoding="utf-8")
    assert "Sequential 1 beside Sequential 2" in text
    assert set(json.loads(both.save(tmp_path / "both.json").read_text())) == {"schema", "first", "second"}
    with pytest.raises(ArgumentError, match=r"\.html or \.json"):
        both.save(tmp_path / "both.csv")


def test_layers_of_other_names_are_matched_by_position():
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    deep = torch.nn.Sequential(torch.nn.Identity(), *mlp([4, 8, 1], "tanh"))
    both = td.compare(mlp([4, 8, 1], "tanh"), deep, x, quantities=["rank.stable_rank"])
    assert both.first.layers != both.second.layers
    assert [row[:2] for row in both.rows()] == [("rank.stable_rank", both.second.layers[0])]


def test_layers_without_a_counterpart_are_named(tmp_path):
    torch.manual_seed(0)
    shallow, deep = mlp([4, 8, 1], "tanh"), mlp([4, 8, 8, 8, 1], "tanh")
    both = td.compare(shallow, deep, torch.randn(60, 4), quantities=["rank.stable_rank"])
    sentence = "Sequential 2: layers 3, 5 without a counterpart"
    assert sentence in str(both)
    assert sentence in both.save(tmp_path / "both.html", interactive=False).read_text(encoding="utf-8")
    turned = td.compare(deep, shallow, torch.randn(60, 4), quantities=["rank.stable_rank"])
    assert "Sequential 1: layers 3, 5 without a counterpart" in str(turned)
    assert "counterpart" not in str(td.compare(deep, deep, torch.randn(60, 4), quantities=["rank.stable_rank"]))


def test_wrong_options_are_told_and_nothing_is_written(reports, tmp_path):
    before, after = reports
    for name, options, words in (
        ("a.html", {"tittle": "x"}, "did you mean 'title'"),
        ("a.json", {"before": before}, "before is an option of an .html page"),
        ("a.csv", {"title": "x"}, "title is an option of an .html page"),
        ("a.html", {"before": torch.nn.Linear(1, 1)}, "before must be a report"),
        ("a.html", {"before": before, "names": ("one",)}, "names must be two"),
        ("a.html", {"before": before, "names": "ab"}, "names must be two"),
        ("a.pdf", {}, r"\.html, \.json or \.csv"),
    ):
        with pytest.raises(TheodoliteError, match=words):
            after.save(tmp_path / name, **options)
    with pytest.raises(ArgumentError, match="model_b must be a torch.nn.Module"):
        td.compare(mlp([4, 8, 1], "tanh"), "model", torch.randn(60, 4))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    from pathlib import Path

    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}; install chromium to test the page in it")
    with sync.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.slow
def test_in_a_browser_figures_are_live_and_nothing_is_fetched(page, browser):
    tab = browser.new_page(viewport={"width": 390, "height": 800})  # a phone
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(page.as_uri())
    figures = tab.query_selector_all("figure[data-figure]")
    figures[0].scroll_into_view_if_needed()
    tab.wait_for_selector("figure.live .main-svg", state="attached")
    figures[-1].scroll_into_view_if_needed()
    tab.wait_for_function(f"document.querySelector('figure[data-figure=\"{len(figures) - 1}\"]').classList.contains('live')")
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert errors == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert not figures[0].query_selector(".static").is_visible()
    tab.emulate_media(media="print")
    assert figures[0].query_selector(".static").is_visible()
    assert not figures[0].query_selector(".plot").is_visible()
    tab.close()


@pytest.mark.slow
def test_without_scripts(page, browser):
    tab = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 800}).new_page()
    tab.goto(page.as_uri())
    assert tab.locator("figure .static svg").first.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.close()


#: Text of less contrast with what is behind it than 4.5 (WCAG 2, level AA); a dot that stands for nothing is left out.
FAINT = """() => {
    const light = (c) => { const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        return 0.2126 * f(c[0]) + 0.7152 * f(c[1]) + 0.0722 * f(c[2]); };
    const numbers = (s) => s.match(/[\\d.]+/g).map(Number);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
        return [255, 255, 255]; };
    return [...document.querySelectorAll("h1, h2, h3, p, li, th, td:not(.none), small, em, b, i, a, pre, summary")].filter((e) => e.textContent.trim()).map((e) => {
        const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName, e.textContent.slice(0, 30)];
    }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_by_day_and_by_night(page, reports, browser, scheme):
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.evaluate(FAINT) == []
    ground = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    drawn = tab.evaluate("getComputedStyle(document.querySelector('figure svg')).filter")
    assert (drawn == "none") == (scheme == "light")
    tab.emulate_media(media="print")  # paper is white
    assert tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.querySelector('figure svg')).filter") == "none"
    for notebook in ("#111", "#fff"):
        tab = context.new_page()
        tab.set_content(
            f"<!doctype html><body style='background:{notebook};color:{'#eee' if notebook == '#111' else '#222'}'>{reports[1]._repr_html_()}"
        )
        assert tab.evaluate(FAINT) == []
        assert tab.evaluate("getComputedStyle(document.querySelector('td.good')).borderLeftColor") != tab.evaluate(
            "getComputedStyle(document.querySelector('td.good')).color"
        )  # the colours of verdicts reach a notebook
    context.close()


@pytest.mark.slow
def test_names_of_rows_stay_in_sight_when_a_table_is_scrolled(page, browser):
    tab = browser.new_page(viewport={"width": 320, "height": 800})
    tab.goto(page.as_uri())
    left = tab.evaluate(
        """() => { const wide = document.querySelector(".wide"); wide.scrollLeft = 80;
        return [wide.scrollLeft, wide.querySelector("th[scope=row]").getBoundingClientRect().left - wide.getBoundingClientRect().left]; }"""
    )
    assert left[0] > 0
    assert left[1] == pytest.approx(0, abs=1)
    tab.close()


def test_the_entries_of_layers_have_their_names():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 5),
        torch.nn.ReLU(),
        torch.nn.Linear(5, 1),
    )
    report = td.diagnose(net, torch.randn(40, 1, 4, 4), quantities=["rank.stable_rank"])
    text = report._repr_html_()
    assert "4 channels" in text
    assert "5 neurons" in text
    assert re.search(r"0 +conv2d +9 → 4", str(report.architecture))


@pytest.mark.slow
def test_tables_of_deep_networks_fit_the_screen_and_the_sheet(browser, tmp_path):
    torch.manual_seed(0)
    report = td.diagnose(mlp([4] + [12] * 8 + [1], "relu"), torch.randn(40, 4))
    (tmp_path / "deep.html").write_text(f"<!doctype html><meta charset=utf-8><body>{report._repr_html_()}", encoding="utf-8")
    tab = browser.new_page(viewport={"width": 984, "height": 800})  # what a page leaves between its margins
    tab.goto((tmp_path / "deep.html").as_uri())
    assert tab.locator("table.deep").count() >= 2
    wide = "[...document.querySelectorAll('.wide')].filter((e) => e.scrollWidth > e.clientWidth).length"
    assert tab.evaluate(wide) == 0
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 690, "height": 1000})  # A4 less its margins
    assert tab.evaluate(wide) == 0
    tab.close()


def test_steep_spectra_name_few_powers_and_draw_no_rounding():
    values = np.array([1.0, 1e-12, 1e-30, 1e-60, 1e-200, 0.0])
    report = Report("M", 9, ("1",), {"1": 6}, None, [], [Profile("rank.spectrum", "λ_i", "1", values)])
    (panel,) = pictures(report)
    (curve,) = panel.curves
    assert curve.y[:3] == [1.0, 1e-12, 1e-30]
    assert np.isnan(curve.y[3:]).all()
    axis = live(panel)["layout"]["yaxis"]
    assert 2 <= 30 / axis["dtick"] <= MOST_TICKS


def test_the_bundle_is_there_once_with_its_licence(page):
    from importlib import resources

    vendor = resources.files("theodolite.report").joinpath("vendor")
    assert "MIT License" in vendor.joinpath("plotly-cartesian.LICENSE").read_text()
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"plotly\.js \(cartesian", text)) == 1
    assert text.count("</script>") == 3
