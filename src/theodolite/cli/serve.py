"""``theodolite serve``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from theodolite.cli.parse import command

__all__ = ["main"]


def run(port: int = 0, open: bool = True, store: str | None = None, export: Path | None = None) -> None:
    """Explore phase planes, condensation, linear regions, double descent and a sweep's results in the browser.

    The page is served on 127.0.0.1 alone. Ctrl-C ends it.

    Args:
        port: of the server; 0 takes a free one.
        open: show the page in the default browser.
        store: folder or URL of a sweep to browse.
        export: write one self-contained page with precomputed grids to this file instead of serving.
    """
    if export is not None:
        from theodolite.report.explorer.export import export_page

        path = export_page(export, store)
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB); it opens without a server and without a network")
        return
    from theodolite.report.explorer.server import serve

    serve(port, open_browser=open, store=store)


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "serve")
    return 0
