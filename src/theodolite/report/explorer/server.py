"""Running the explorer on this machine."""

from __future__ import annotations

import socket
import sys
import threading
import webbrowser
from typing import Any

from theodolite.core.errors import ArgumentError, require_extra
from theodolite.report.explorer.app import create_app

__all__ = ["serve"]


def serve(port: int = 0, *, open_browser: bool = True, store: Any = None) -> None:
    """Serve the explorer on 127.0.0.1 until interrupted.

    Args:
        port: of the server; 0 takes a free one.
        open_browser: show the page in the default browser.
        store: folder or URL of a sweep to browse.

    Raises:
        MissingExtraError: starlette or uvicorn is not installed.
        ArgumentError: the port is taken or out of range.
        StoreError: there is no sweep at ``store``.
    """
    for module in ("starlette", "uvicorn"):
        require_extra(module, "explorer")
    import uvicorn

    listening = bound(port)
    app = create_app(store)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    print(f"Theodolite explorer at {url}  (Ctrl-C ends it)", flush=True)
    if open_browser:
        # The socket already listens, so that the browser may come before the server's loop runs.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    try:
        server.run(sockets=[listening])
    finally:
        app.state.answers.close()
        listening.close()


def bound(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1.

    Raises:
        ArgumentError: the port is taken or out of range.
    """
    if not 0 <= port <= 65535:
        raise ArgumentError(f"port must lie in 0…65535, got {port}")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform != "win32":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ArgumentError(f"port {port} cannot be used ({error.strerror}); leave --port out to take a free one") from error
    return listening
