"""The explorer's web application: the page's own files, and the endpoints as JSON. It only ever answers this machine."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from theodolite.core.errors import ArgumentError, TheodoliteError, UnknownNameError, require_extra
from theodolite.report.explorer.pages import TYPES, files
from theodolite.report.explorer.payload import strict_json

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["create_app"]

#: Names under which a browser reaches this machine. Any other name in the Host header is a page elsewhere whose name was
#: rebound to 127.0.0.1, and gets nothing.
HOSTS = ("127.0.0.1", "localhost", "[::1]")
#: Longest query in characters, answers waiting to be computed, and bytes of answers kept.
LONGEST_QUERY, WAITING, KEPT = 4000, 24, 64_000_000

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

log = logging.getLogger("theodolite.explorer")


class Answers:
    """Answers by endpoint and query, computed one after another on one thread, the last ones kept.

    One thread, because the computations share tables and one at a time is fastest on few cores; what waits is bounded.

    Args:
        store: folder or URL of a sweep, or None.
    """

    def __init__(self, store: Any = None) -> None:
        from theodolite.report.explorer.endpoints import endpoints

        self.known = endpoints(store)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explorer")
        self._kept: OrderedDict[tuple[Any, ...], str] = OrderedDict()
        self._size = self._waiting = 0

    async def get(self, name: str, query: list[tuple[str, str]]) -> tuple[int, str]:
        """Status and JSON text."""
        key = (name, *sorted(query))
        if key in self._kept:
            self._kept.move_to_end(key)
            return 200, self._kept[key]
        if self._waiting >= WAITING:
            return 503, strict_json({"error": "too many questions are waiting; ask again in some seconds"})
        self._waiting += 1
        try:
            status, text = await asyncio.get_running_loop().run_in_executor(self._thread, self._compute, name, query)
        finally:
            self._waiting -= 1
        if status == 200 and self.known[name].lasting:
            self._keep(key, text)
        return status, text

    def _compute(self, name: str, query: list[tuple[str, str]]) -> tuple[int, str]:
        from theodolite.report.explorer.endpoints import answer

        try:
            return 200, strict_json(answer(self.known, name, query))
        except UnknownNameError as error:
            return 404 if name not in self.known else 400, strict_json({"error": str(error)})
        except TheodoliteError as error:
            return 400, strict_json({"error": str(error)})
        except Exception:
            # The page gets no internals; who runs the server reads them in the terminal.
            log.exception("endpoint %s failed", name)
            return 500, strict_json({"error": "the computation failed unexpectedly; the server's terminal shows why"})

    def _keep(self, key: tuple[Any, ...], text: str) -> None:
        self._kept[key] = text
        self._size += len(text)
        while self._size > KEPT:
            self._size -= len(self._kept.popitem(last=False)[1])

    def close(self) -> None:
        """End the thread once it is idle."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def create_app(store: Any = None) -> Starlette:
    """The web application, for any ASGI server; `serve` runs it on 127.0.0.1.

    Args:
        store: folder or URL of a sweep to browse, or None.

    Raises:
        MissingExtraError: starlette is not installed.
        StoreError: there is no sweep at ``store``.

    Example:
        >>> from starlette.testclient import TestClient
        >>> client = TestClient(create_app(), base_url="http://127.0.0.1")
        >>> client.get("/api/condensation/point?gamma=1.75").json()["regime"]
        'condensed'
        >>> client.get("/", headers={"host": "example.org"}).status_code
        421
    """
    require_extra("starlette", "explorer")
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    answers = Answers(store)
    pages = files()

    async def page(request: Request) -> Response:
        return _page(pages, request.path_params.get("name", "index.html"))

    async def views(request: Request) -> Response:
        return Response(strict_json({"endpoints": list(answers.known), "precomputed": False}), media_type="application/json")

    async def endpoint(request: Request) -> Response:
        if len(request.url.query) > LONGEST_QUERY:
            error = ArgumentError(f"the query must have at most {LONGEST_QUERY} characters, got {len(request.url.query)}")
            return Response(strict_json({"error": str(error)}), 400, media_type="application/json")
        name = f"{request.path_params['view']}/{request.path_params['question']}"
        status, text = await answers.get(name, request.query_params.multi_items())
        return Response(text, status, media_type="application/json")

    routes = [
        Route("/", page, methods=["GET"]),
        Route("/static/{name}", page, methods=["GET"]),
        Route("/api/views", views, methods=["GET"]),
        Route("/api/{view}/{question}", endpoint, methods=["GET"]),
    ]
    app = Starlette(routes=routes)
    app.state.answers = answers
    app.add_middleware(Guard)
    return app


def _page(pages: Mapping[str, str], name: str) -> Response:
    from starlette.responses import PlainTextResponse, Response

    if name not in pages:
        return PlainTextResponse("no such page", 404)
    return Response(pages[name], media_type=TYPES[name.rpartition(".")[2]])


class Guard:
    """Refuses requests that did not come from a page of this server, and adds the headers that keep the page to itself."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = refused(scope["headers"])
        if refusal is not None:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(refusal[1], refusal[0], headers=HEADERS)(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.lower().encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self.app(scope, receive, with_headers)


def refused(headers: list[tuple[bytes, bytes]]) -> tuple[int, str] | None:
    """Status and reason if a request with these headers must not be answered, else None.

    Example:
        >>> refused([(b"host", b"127.0.0.1:8765")]) is None, refused([(b"host", b"evil.example:8765")])[0]
        (True, 421)
    """
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(hosts) != 1 or _name(hosts[0]) not in HOSTS:
        return 421, "this server answers to 127.0.0.1 and localhost only"
    given = {name: value.decode("latin-1") for name, value in headers}
    if given.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
        return 403, "this server answers its own pages only"
    origin = given.get(b"origin")
    if origin is not None and origin != f"http://{hosts[0]}":
        return 403, "this server answers its own pages only"
    return None


def _name(host: str) -> str:
    """The name of a Host header without its port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower()
    return name.lower() if port.isdecimal() else ""
