"""The server: what it answers, and to whom; hostile requests."""

import json

import pytest

pytest.importorskip("starlette", reason="the extra 'explorer' is not installed")
from starlette.testclient import TestClient

from theodolite.core.errors import ArgumentError
from theodolite.report.explorer import app as module
from theodolite.report.explorer.app import create_app, refused
from theodolite.report.explorer.pages import MODULES, files
from theodolite.report.explorer.server import bound


@pytest.fixture(scope="module")
def client():
    return TestClient(create_app(), base_url="http://127.0.0.1:8123", raise_server_exceptions=True)


def test_page_and_modules(client):
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("explorer.css", "icon.svg", *MODULES):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.text == files()[name]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_modules_name_only_each_other():
    known = set()
    for name in MODULES:
        imported = {line.split('"')[1] for line in files()[name].splitlines() if line.startswith(("import ", "export {"))}
        assert imported <= {f"./{k}" for k in known}, name
        known.add(name)
    text = "".join(files().values())
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    for danger in ("eval(", "innerHTML", "document.write", "new Function"):
        assert danger not in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "localhost.evil", "", "127.0.0.1:80:80",
                                  "[::1", "0.0.0.0", "127.0.0.2", "user@127.0.0.1", "127.0.0.1:abc"])  # fmt: skip
def test_other_names_get_nothing(client, host):
    for path in ("/", "/static/main.js", "/api/views", "/api/condensation/point"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "Theodolite" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8123", "localhost:8123", "LOCALHOST", "[::1]:8123", "[::1]"])
def test_this_machines_names(client, host):
    assert client.get("/api/views", headers={"host": host}).status_code == 200


def test_pages_elsewhere_cannot_ask(client):
    for site in ("cross-site", "same-site"):
        assert client.get("/api/views", headers={"sec-fetch-site": site}).status_code == 403
    assert client.get("/api/views", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/views", headers={"origin": "null"}).status_code == 403
    same = {"origin": "http://127.0.0.1:8123", "sec-fetch-site": "same-origin"}
    assert client.get("/api/views", headers=same).status_code == 200
    assert "access-control-allow-origin" not in client.get("/api/views", headers=same).headers
    assert refused([(b"host", b"127.0.0.1"), (b"host", b"localhost")])[0] == 421
    assert refused([])[0] == 421


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/app.py", "/static/....//app.py", "/static//etc/passwd",
        "/static/%2fetc%2fpasswd", "/static/..\\app.py", "/static/index.html%00.js", "/static/app.py", "/static/", "/etc/passwd",
        "/api/../static", "/api/phase", "/api/phase/plane/x", "/api/store/slice?variable=../../etc/passwd", "/favicon.ico",
    ],
)  # fmt: skip
def test_no_path_reaches_a_file(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "def create_app" not in answer.text


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_only_reading(client, method):
    assert getattr(client, method)("/api/condensation/point").status_code == 405


@pytest.mark.parametrize(
    "query",
    [
        "activation=__import__('os').system('id')", "activation=lambda x: x", "activation=tanhh", "w=nan", "w=1e400", "w=-1", "columns=100000",
        "columns=80&columns=80", "columns=1e2", "unknown=1", "b_max=" + "9" * 5000, "w_max=0", "activation=%00",
    ],
)  # fmt: skip
def test_bad_queries_are_400_with_the_reason(client, query):
    answer = client.get(f"/api/phase/plane?{query}")
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert len(answer.json()["error"]) > 10
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/api/regions/network?hidden=9,9", "/api/regions/network?hidden=8,8,8,8", "/api/regions/network?edits=0:1e9",
                                  "/api/staircase/run?steps=100000", "/api/staircase/run?width=5000", "/api/descent/curve?samples=100000",
                                  "/api/phase/point?depth=100000", "/api/descent/curve?ridge=-1"])  # fmt: skip
def test_no_query_asks_for_minutes(client, path):
    assert client.get(path).status_code == 400


def test_answers_are_strict_json_and_errors_of_the_library_are_told(client):
    def refuse(constant):
        raise AssertionError(constant)

    point = json.loads(client.get("/api/phase/point?activation=tanh&w=1&b=0&depth=2").text, parse_constant=refuse)
    assert point["xi_c"] in ("inf", None) or point["xi_c"] > 0
    told = client.get("/api/descent/curve?samples=100").json()["error"]
    assert told.startswith("samples must be at most 60")


def test_equal_questions_are_computed_once(client, monkeypatch):
    answers = client.app.state.answers
    first = client.get("/api/condensation/point?gamma=1.7&gamma_prime=0.3").text
    monkeypatch.setattr(type(answers), "_compute", lambda *_: pytest.fail("computed again"))
    assert client.get("/api/condensation/point?gamma_prime=0.3&gamma=1.7").text == first


def test_kept_answers_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2000)
    answers = module.Answers()
    for k in range(50):
        answers._keep((k,), "x" * 100)
    assert answers._size <= 2000
    assert len(answers._kept) <= 20
    assert (49,) in answers._kept
    answers.close()


def test_too_many_questions_at_once_are_turned_away(monkeypatch):
    app = create_app()
    app.state.answers._waiting = module.WAITING
    answer = TestClient(app, base_url="http://127.0.0.1").get("/api/condensation/plane")
    assert answer.status_code == 503
    assert "waiting" in answer.json()["error"]


def test_an_unexpected_failure_shows_no_internals(monkeypatch):
    app = create_app()
    broken = app.state.answers.known["condensation/plane"]

    def fail(**_):
        raise RuntimeError("secret /home/someone")

    monkeypatch.setitem(app.state.answers.known, "condensation/plane", type(broken)(fail, broken.fields))
    answer = TestClient(app, base_url="http://127.0.0.1").get("/api/condensation/plane")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_the_server_listens_on_this_machine_alone():
    listening = bound(0)
    assert listening.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ArgumentError, match="cannot be used"):
        bound(listening.getsockname()[1])
    listening.close()
    with pytest.raises(ArgumentError, match="port must lie"):
        bound(70_000)
