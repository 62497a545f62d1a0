"""The page in a real browser: every view draws, state lives in the address, keys work, nothing leaves this machine."""

import re
import shutil
import threading

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra 'explorer' is not installed")

from theodolite.report.explorer import create_app  # noqa: E402
from theodolite.report.explorer.server import bound  # noqa: E402
from theodolite.report.explorer.views.staircase import recorded  # noqa: E402

pytestmark = pytest.mark.slow
VIEWS = ("phase", "condensation", "staircase?steps=200&width=12", "regions", "descent", "store")
PATIENCE = 90_000


@pytest.fixture(scope="module")
def url(store):
    listening = bound(0)
    app = create_app(store)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)
    app.state.answers.close()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Watched:
    """A page, and everything that it did wrong."""

    def __init__(self, browser, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.errors, self.requests = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console", lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None
        )
        self.page.on("request", lambda request: self.requests.append(request.url))

    def show(self, address):
        self.page.goto(address)
        self.settle()

    def settle(self):
        self.page.wait_for_selector("#point:not(:empty)", timeout=PATIENCE)
        self.page.wait_for_selector("main:not(.busy)", timeout=PATIENCE)

    def check(self, *origins):
        assert self.errors == []
        elsewhere = [r for r in self.requests if not r.startswith((*origins, "data:", "blob:"))]
        assert elsewhere == []
        self.context.close()


@pytest.fixture
def watched(browser):
    def make(**options):
        return Watched(browser, **{"viewport": {"width": 1280, "height": 900}, **options})

    return make


def painted(page):
    """How many of the canvases hold more than one colour."""
    script = """() => [...document.querySelectorAll('.plot canvas')].filter((c) => {
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        for (let k = 4; k < d.length; k += 4) if (d[k] !== d[0] || d[k + 1] !== d[1]) return true;
        return false;
    }).length"""
    return page.evaluate(script), page.locator(".plot canvas").count()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_view_draws_at_every_width(url, watched, width, scheme):
    w = watched(viewport={"width": width, "height": 844}, color_scheme=scheme)
    for view in VIEWS:
        w.show(f"{url}#/{view}")
        drawn, count = painted(w.page)
        assert drawn == count > 0, view
        assert w.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), view
        assert w.page.locator("nav a[aria-current=page]").count() == 1
        assert w.page.locator("h1").inner_text()
        unnamed = w.page.evaluate(
            """() => [...document.querySelectorAll('main select, main input, main button, main canvas')].filter((e) =>
                !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.textContent.trim()).map((e) => e.outerHTML)"""
        )
        assert unnamed == [], view
    w.check(url)


def test_a_click_picks_a_point_and_the_address_restores_it(url, watched):
    w = watched()
    w.show(f"{url}#/phase")
    before = w.page.locator("#point").inner_text()
    box = w.page.locator(".plot canvas").first.bounding_box()
    w.page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"])
    w.settle()
    w.page.wait_for_selector("#point b.chaotic", timeout=PATIENCE)
    after = w.page.locator("#point").inner_text()
    assert after != before
    address = w.page.url
    assert re.search(r"#/phase\?.*w=[\d.]+.*b=[\d.]+", address)
    w.page.reload()
    w.settle()
    assert w.page.url == address
    assert w.page.locator("#point").inner_text() == after
    w.check(url)


def test_the_plane_is_coloured_by_what_the_reader_chooses(url, watched):
    w = watched()
    w.show(f"{url}#/phase?w=3&b=0.02&show=nothing")  # an unknown name is the default one
    field = w.page.get_by_label("coloured by")
    assert field.input_value() == "chi_1"
    plane = w.page.locator(".plot canvas").first
    pictures = set()
    for name, symbol in (("q_star", "q*"), ("c_star", "c*"), ("xi_c", "ξ_c"), ("xi_grad", "ξ_∇"), ("chi_1", "χ₁")):
        field.select_option(name)
        w.settle()
        assert (f"show={name}" in w.page.url) == (name != "chi_1")
        plane.hover(position={"x": 300, "y": 200})
        assert f"{symbol} = " in w.page.locator(".readout").first.inner_text()
        pictures.add(w.page.evaluate("document.querySelector('.plot canvas').toDataURL()"))
    assert len(pictures) == 5
    with w.page.expect_download() as download:
        w.page.get_by_text("CSV", exact=True).click()
    with open(download.value.path(), encoding="utf-8") as file:
        head, *rows = file.read().splitlines()
    assert head == "sigma_w2,sigma_b2,chi_1,q_star,c_star,xi_c,xi_grad"
    column = [float(row.split(",")[4]) for row in rows]
    assert min(column) < 0.1 < 0.999 < max(column)
    assert "phase_diagram" in w.page.locator("pre").inner_text().partition("# the plane")[2]
    w.check(url)


def test_a_refusal_stays_while_other_answers_come(url, watched):
    w = watched()
    w.show(f"{url}#/phase?wmax=999")
    assert "w_max must be a number in" in w.page.locator(".notice.error").inner_text()
    w.page.get_by_label("σ_w² up to").fill("3")
    w.page.keyboard.press("Enter")
    w.settle()
    assert w.page.locator(".notice").inner_text() == ""
    w.context.close()


def test_keys_move_the_point_and_reach_every_control(url, watched):
    w = watched()
    w.show(f"{url}#/condensation?g=1.5&p=0.2")
    w.page.locator(".plot canvas").first.focus()
    w.page.keyboard.press("ArrowRight")
    w.page.keyboard.press("ArrowDown")
    w.page.keyboard.press("Shift+ArrowLeft")
    w.settle()
    assert "g=1.3" in w.page.url
    assert "p=0.15" in w.page.url
    assert "γ 1.3" in w.page.locator("#live").text_content()
    # From the top of the page: the skip link, all views, all controls and the plane come in the order of the tab key.
    w.page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges(); scrollTo(0, 0)")
    w.page.locator("body").click(position={"x": 2, "y": 2})
    seen = []
    for _ in range(20):
        w.page.keyboard.press("Tab")
        seen.append(w.page.evaluate("document.activeElement.tagName"))
    assert {"A", "INPUT", "SELECT", "BUTTON", "CANVAS"} <= set(seen)
    w.check(url)


def test_navigation_and_back(url, watched):
    w = watched()
    w.show(url)
    w.page.get_by_role("link", name="Linear regions").click()
    w.settle()
    assert "#/regions" in w.page.url
    w.page.locator("select").first.select_option("4")
    w.settle()
    assert "hidden=4" in w.page.url
    w.page.go_back()
    w.settle()
    assert "hidden" not in w.page.url
    w.page.wait_for_selector("select >> nth=0")
    assert w.page.locator("select").first.input_value() == "6,6"
    w.page.go_back()
    w.page.wait_for_selector("nav a[aria-current]:text('Phase plane')", timeout=PATIENCE)
    w.check(url)


def test_a_weight_can_be_edited(url, watched):
    w = watched()
    w.show(f"{url}#/regions?hidden=4&seed=1&pick=3")
    assert "2.5" not in w.page.locator("pre").inner_text()
    field = w.page.get_by_label("value", exact=True)
    field.fill("2.5")
    field.press("Enter")
    w.page.wait_for_selector("text=Undo all changes", timeout=PATIENCE)
    w.settle()
    assert "edits=3:2.5" in w.page.url
    assert "proved" in w.page.locator("#shallow").inner_text()
    assert "2.5" in w.page.locator("pre").inner_text()
    w.page.get_by_text("Undo all changes").click()
    w.settle()
    assert "edits" not in w.page.url
    # A line of the drawing can be picked by itself.
    w.page.locator(".net .hit").nth(5).click(force=True)
    w.settle()
    assert "pick=" in w.page.url
    assert w.page.locator(".net .chosen").count() == 1
    w.check(url)


def test_the_player_plays_and_files_are_saved(url, watched):
    w = watched()
    w.show(f"{url}#/staircase?steps=200&width=12")
    w.page.get_by_role("button", name="Play").click()
    # Paused by the page itself at the first chance: however slow the machine, no time is waited for.
    w.page.wait_for_function(
        """() => {
            const button = document.querySelector("button.main");
            if (!(Number(location.hash.match(/look=([0-9]+)/)?.[1]) >= 2) || button.textContent !== "Pause") return false;
            button.click();
            return true;
        }""",
        timeout=PATIENCE,
    )
    assert w.page.get_by_role("button", name="Play").count() == 1
    assert int(re.search(r"look=(\d+)", w.page.url)[1]) >= 2
    contents = {}
    for name in ("PNG", "CSV", "Python"):
        with w.page.expect_download() as download:
            w.page.get_by_text(name, exact=True).click()
        contents[name] = open(download.value.path(), "rb").read()  # noqa: SIM115
    assert contents["PNG"].startswith(b"\x89PNG")
    assert len(contents["PNG"]) > 20_000
    assert contents["CSV"].startswith(b"step,loss,epsilon_rank,eigenvalue_1")
    assert contents["Python"].startswith(b"import theodolite as td")
    w.check(url)


def test_the_sweep_browser(url, watched):
    w = watched()
    w.show(f"{url}#/store")
    assert "4 failed" in w.page.locator("#point").inner_text()
    assert "division by zero" in w.page.locator("main").inner_text()
    w.page.get_by_label("upwards").select_option("none")
    w.settle()
    assert "y=none" in w.page.url
    w.page.get_by_label("result").select_option("at")
    w.settle()
    assert "variable=at" in w.page.url
    w.check(url)


def crossed(page):
    """Rows of the first canvas, as pixels from its top, that hold most of the colour of a failed cell's cross; one for each cross."""
    return page.evaluate(
        """() => {
        const canvas = document.querySelector(".plot canvas"), ratio = canvas.width / canvas.clientWidth;
        const bad = getComputedStyle(document.documentElement).getPropertyValue("--bad").trim();
        const wanted = [1, 3, 5].map((k) => parseInt(bad.slice(k, k + 2), 16));
        const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const rows = [];
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
            if (wanted.every((c, k) => Math.abs(data[4 * (y * width + x) + k] - c) < 8)) { rows.push(y / ratio); break; }
        }
        const groups = [];
        for (const y of rows) {
            if (groups.length && y - groups.at(-1).at(-1) < 2) groups.at(-1).push(y);
            else groups.push([y]);
        }
        return groups.map((g) => (g[0] + g.at(-1)) / 2);
    }"""
    )


def test_a_failed_cell_is_crossed_where_its_value_stands(url, watched):
    w = watched()
    w.show(f"{url}#/store?variable=minimum&x=a&y=b")
    tops = crossed(w.page)
    assert len(tops) == 4  # a = 0 at b = 3, 1, 0, -1 from above, with steps 2, 1, 1
    steps = [low - high for high, low in zip(tops, tops[1:], strict=False)]
    assert steps[0] == pytest.approx(2 * steps[2], abs=2)
    assert steps[1] == pytest.approx(steps[2], abs=2)
    w.check(url)


def test_every_axis_has_two_numbers_on_it(url, watched):
    w = watched()
    w.show(url)
    few = w.page.evaluate(
        """async () => {
        const { ticks } = await import("/static/plot.js");
        const out = [];
        for (const [low, high] of [[-1.65, 1.65], [0, 1.6], [-0.95, 0.95], [0.02, 0.98], [-3e-5, 9], [1, 1e6], [2, 5]])
            for (let count = 2; count < 12; count++) for (const log of low > 0 ? [false, true] : [false]) {
                const found = ticks(low, high, log, count);
                if (found.length < 2 || found.some((v) => v < low - 1e-3 * Math.abs(low) || v > high * 1.001)) out.push([low, high, count, log, found]);
            }
        return out;
    }"""
    )
    assert few == []
    w.check(url)


def test_letters_in_the_drawing_of_a_network_can_be_read_on_a_phone(url, watched):
    w = watched(viewport={"width": 360, "height": 780})
    w.show(f"{url}#/regions?hidden=4&seed=1")
    heights = w.page.evaluate(
        """() => [...document.querySelectorAll(".net text")].map((e) => Number.parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"""
    )
    assert len(heights) == 3
    assert min(heights) > 10
    inside = w.page.evaluate(
        """() => { const r = document.querySelector(".net").getBoundingClientRect();
        return [...document.querySelectorAll(".net text")].every((e) => { const b = e.getBoundingClientRect(); return b.left >= r.left && b.right <= r.right; }); }"""
    )
    assert inside
    w.check(url)


def test_addresses_written_by_anyone_do_no_harm(url, watched):
    w = watched()
    for hostile in ("phase?activation=%3Cimg src=x onerror=alert(1)%3E", "regions?edits=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "phase?w=1e999&b=%",
                    "nosuchview?x=1", "store?variable=../../etc/passwd&at=99999999", "descent?samples=1e9"):  # fmt: skip
        w.page.goto("about:blank")
        w.page.goto(f"{url}#/{hostile}")
        w.page.wait_for_selector("h1")
        w.page.wait_for_selector("main:not(.busy)", timeout=PATIENCE)
    bad = [error for error in w.errors if "status of 400" not in error]  # the browser notes refused questions itself
    assert bad == []
    assert w.page.locator("img, script:not([src])").count() == 0
    w.context.close()


def test_the_exported_file_works_from_disk(exported, watched):
    w = watched(viewport={"width": 390, "height": 844})
    for view in VIEWS:
        w.show(f"{exported.as_uri()}#/{view}")
        drawn, count = painted(w.page)
        assert drawn == count > 0, view
        assert w.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), view
    assert w.page.locator(".notice").inner_text() == ""  # the store's slice is there as asked for
    w.show(f"{exported.as_uri()}#/staircase?width=25")
    assert "width" in w.page.locator(".notice").inner_text()
    w.show(f"{exported.as_uri()}#/staircase")  # the standard run, whole, in the file too
    assert w.page.locator(".notice").inner_text() == ""
    w.page.get_by_role("button", name="Play").click()
    w.page.wait_for_function("() => Number(location.hash.match(/look=([0-9]+)/)?.[1]) >= 1", timeout=PATIENCE)
    player = w.page.get_by_label("step", exact=True)
    assert player.get_attribute("aria-valuetext") != "0"
    assert player.get_attribute("max") == str(len(recorded()["step"]) - 1)
    w.show(f"{exported.as_uri()}#/phase?show=c_star")
    w.page.locator(".plot canvas").first.hover(position={"x": 200, "y": 150})
    assert "c* = " in w.page.locator(".readout").first.inner_text()
    w.show(f"{exported.as_uri()}#/phase?w=2.22&b=0.2")
    assert "Nearest precomputed values" in w.page.locator(".notice").inner_text()
    w.page.locator(".plot canvas").first.focus()
    w.page.keyboard.press("Shift+ArrowRight")
    w.settle()
    assert "w=2.62" in w.page.url
    w.check(exported.as_uri())
