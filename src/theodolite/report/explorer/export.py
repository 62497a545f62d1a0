"""One self-contained page with precomputed answers, which opens from a file: no server, no network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from theodolite.core.errors import StoreError, TheodoliteError
from theodolite.draw.progress import progress
from theodolite.report.explorer.pages import MODULES, files
from theodolite.report.explorer.payload import strict_json

__all__ = ["export_page"]

#: Activations of an exported page: those whose correlation maps have closed forms or fast series.
ACTIVATIONS = ("tanh", "relu", "erf", "hardtanh", "gelu", "silu", "sin")
#: Points of the phase plane, as parts of the plane's window.
ACROSS, UP = (0.125, 0.25, 0.375, 0.5, 0.7, 0.9), (0.0, 0.05, 0.2, 0.5)
#: Points of the condensation plane.
GAMMAS, PRIMES = (0.5, 0.75, 1.0, 1.25, 1.75, 2.5), (-1.0, -0.5, 0.0, 0.5, 1.0)
#: Networks, training runs, noises and ridges.
NETWORKS = ((6, 6), (4,), (8,), (5, 4), (8, 8), (6, 6, 6))
SEEDS = (57, 0, 1, 2, 3, 4, 5, 6)
RUNS = (("tanh", "torch"), ("relu", "torch"), ("tanh", "deterministic"))
NOISES, RIDGES = (0.0, 0.2, 0.5), (0.0, 0.001, 0.1)
#: Slices of a store: results, and pairs of dimensions of each.
SLICES = 200

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def export_page(path: str | Path, store: Any = None, *, small: bool = False) -> Path:
    """Write the explorer as one HTML file with grids of precomputed answers; it shows the nearest of them, and says so.

    Args:
        path: the file.
        store: folder or URL of a sweep to include.
        small: only a few answers of each view, for a quick look.

    Returns:
        The path.

    Raises:
        StoreError: there is no sweep at ``store``, or the file cannot be written.

    Cost: one to two minutes of one core and about 5 MB; seconds with ``small``.
    """
    from theodolite.report.explorer.endpoints import answer, endpoints

    target = Path(path)
    try:
        # Before minutes are spent on what then cannot be kept.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    except OSError as error:
        raise StoreError(f"the page cannot be written to {target}: {error.strerror}") from error
    known = endpoints(store)
    wanted = list(_wanted(small))
    grids: dict[str, list[dict[str, Any]]] = {}
    for name, query in progress(wanted, "explorer", total=len(wanted)):
        grids.setdefault(name, []).append({"query": query, "data": answer(known, name, list(query.items()))})
    if store is not None:
        summary = answer(known, "store/summary", [])
        grids["store/summary"] = [{"query": {}, "data": summary}]
        for query in _slices(summary):
            try:
                data = answer(known, "store/slice", list(query.items()))
            except TheodoliteError as error:
                # A result that cannot be drawn is told in its place, as the server does.
                data = {"refused": str(error)}
            grids.setdefault("store/slice", []).append({"query": query, "data": data})
    target.write_text(_page(grids), encoding="utf-8")
    return target


def _wanted(small: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """(endpoint, query) of every precomputed answer."""
    from theodolite.report.explorer.views.phase import plane

    activations = ACTIVATIONS[:2] if small else ACTIVATIONS
    across, up = (ACROSS[1::3], UP[::3]) if small else (ACROSS, UP)
    for name in activations:
        for question in ("phase/plane", "phase/correlations"):
            yield question, {"activation": name, "columns": "48", "rows": "36"}
        w_max = plane(name, None, 1.0, 8, 8)["w_max"]
        for w in across:
            for b in up:
                yield "phase/point", {"activation": name, "w": f"{w * w_max:.6g}", "b": f"{b:g}", "depth": "16"}
    yield "condensation/plane", {}
    for name in activations if small else (*ACTIVATIONS, "xtanh", "x2tanh"):
        for target in ("four_points",) if small else ("four_points", "step", "sine", "bump"):
            yield "condensation/point", {"activation": name, "target": target, "gamma": "1.75", "gamma_prime": "0"}
    for gamma in GAMMAS[:2] if small else GAMMAS:
        for prime in PRIMES[:2] if small else PRIMES:
            yield (
                "condensation/point",
                {"activation": "tanh", "target": "four_points", "gamma": f"{gamma:g}", "gamma_prime": f"{prime:g}"},
            )
    for activation, init in RUNS[:1] if small else RUNS:
        yield "staircase/run", {"activation": activation, "init": init, "steps": "2000"}
    for hidden in NETWORKS[:2] if small else NETWORKS:
        for seed in SEEDS[: 2 if small else None]:
            yield "regions/network", {"hidden": ",".join(map(str, hidden)), "seed": str(seed)}
    for noise in NOISES[:1] if small else NOISES:
        for ridge in RIDGES[:1] if small else RIDGES:
            yield "descent/curve", {"data": "sine", "noise": f"{noise:g}", "ridge": f"{ridge:g}"}
    if not small:
        yield "descent/curve", {"data": "digits", "samples": "100", "noise": "0.1"}


def _slices(summary: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Every numeric result over its first two dimensions and along each of them, the others averaged."""
    count = 0
    for result in summary["variables"]:
        if not result["numeric"]:
            continue
        dims = result["dims"]
        at = {"at": ",".join(["-1"] * len(dims))} if dims else {}
        pairs = [(x, "") for x in dims] + [(x, y) for x in dims for y in dims if x != y]
        for x, y in pairs:
            if count == SLICES:
                return
            count += 1
            yield {"variable": result["name"], "x": x, "y": y, **at}


def _page(grids: dict[str, list[dict[str, Any]]]) -> str:
    """The page with its style, its modules as data addresses, and the answers."""
    page, icon = files()["index.html"], _encoded(files()["icon.svg"])
    imports = {name: f"data:text/javascript;base64,{_encoded(_module(name))}" for name in MODULES}
    data = strict_json({"endpoints": list(grids), "precomputed": True, "grids": grids})
    # In a script element only these could end it or start a comment.
    safe = data.replace("<", "\\u003c")
    replacements = {
        '<meta name="policy" content="server">': f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<link rel="stylesheet" href="/static/explorer.css">': f"<style>{files()['explorer.css']}</style>",
        '<link rel="icon" href="/static/icon.svg">': f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">',
        '<script type="module" src="/static/main.js"></script>': (
            f'<script type="application/json" id="precomputed">{safe}</script>\n'
            f'<script type="importmap">{json.dumps({"imports": imports})}</script>\n'
            '<script type="module">import "main.js";</script>'
        ),
    }
    for served, own in replacements.items():
        if page.count(served) != 1:
            raise AssertionError(f"index.html must hold {served} once")
        page = page.replace(served, own)
    return page


def _module(name: str) -> str:
    """A module whose imports name the import map instead of neighbouring files."""
    return re.sub(r'(from|import) "\./([\w-]+\.js)"', r'\1 "\2"', files()[name])


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")
