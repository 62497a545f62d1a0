"""A report as one self-contained page: words first, then the tables, the figures, and how each number was computed."""

from __future__ import annotations

import functools
import html
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.core.errors import ArgumentError, unknown
from theodolite.core.reference import described
from theodolite.core.registry import quantity_named
from theodolite.report.changes import changed, unmatched
from theodolite.report.grid import tables
from theodolite.report.panels import Panel, live, static

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.report.report import Report

__all__ = ["Section", "check_options", "fragment", "page", "svg"]

#: A heading, a paragraph and figures, for `page`: what a caller adds to a report.
Section = tuple[str, str, Sequence["Figure"]]


def page(
    report: Report,
    title: str | None = None,
    sections: Sequence[Section] = (),
    before: Report | None = None,
    names: tuple[str, str] = ("before", "after"),
    interactive: bool = True,
) -> str:
    """The whole page. It makes no network request, and shows static pictures in print and where scripts do not run.

    Args:
        report: what to show.
        title: heading; default the model's name.
        sections: more sections (heading, paragraph, figures), shown before the method notes.
        before: a report of the same model at another time, or of another model, shown beside the measurements.
        names: what to call ``before`` and ``report``.
        interactive: inline plotly (1.5 MB) for figures that can be zoomed and read off.

    Raises:
        ArgumentError: ``before`` is no report, or ``names`` are not two.
    """
    from theodolite.report.pictures import pictures

    _check_other(before, names)
    title = title or f"Diagnosis of {report.model}"
    panels = pictures(report, before, names)
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=lead>{report.samples:,} samples · {_counted(len(report.layers), 'observed layer')} · {_widths(report)}</p>",
        _words(report, before, names),
        "<h2>Measurements</h2>",
        tables(report, before, names),
        _unmeasured(report),
    ]
    if panels:
        body += ["<h2>Figures</h2>", "<div class=figures>", *(_figure(panel, i) for i, panel in enumerate(panels)), "</div>"]
    for heading, paragraph, figures in sections:
        body.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(paragraph)}</p><div class=figures>")
        body += [f"<figure>{svg(figure)}</figure>" for figure in figures]
        body.append("</div>")
    body += ["<h2>The network as it was read</h2>", f"<pre>{html.escape(str(report.architecture))}</pre>", _methods(report)]
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_asset('report.css')}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main>\n"
        + (_scripts(panels) if interactive and panels else "")
        + "</body></html>\n"
    )


def check_options(path: Path, options: Mapping[str, Any]) -> None:
    """Whether what is to be written to ``path`` takes these options.

    Raises:
        ArgumentError: options of a page for another kind of file. UnknownNameError: an option that a page does not have.
    """
    known = list(inspect.signature(page).parameters)[1:]
    for name in options:
        if name not in known:
            raise unknown("option of a page", name, known)
        if path.suffix != ".html":
            raise ArgumentError(f"{name} is an option of an .html page; {str(path)!r} takes none")


def _check_other(before: Any, names: Any) -> None:
    from theodolite.report.report import Report

    if before is not None and not isinstance(before, Report):
        raise ArgumentError(f"before must be a report, such as theodolite.diagnose returns, got {type(before).__name__}")
    if isinstance(names, str) or len(names) != 2:
        raise ArgumentError(f"names must be two: of the report before, and of this one; got {names!r}")


def fragment(report: Report, before: Report | None = None, names: tuple[str, str] = ("before", "after")) -> str:
    """Summary and tables, for notebooks."""
    style = f"<style>@scope {{ {_asset('report.css')} }}</style>"
    head = f"<b>{html.escape(report.model)}</b>: {report.samples} samples"
    return f"<div class=theodolite>{style}{head}{_words(report, before, names)}{tables(report, before, names)}</div>"


def svg(figure: Figure) -> str:
    """A matplotlib figure as inline SVG, with ids that do not clash with those of other figures on the page."""
    import matplotlib as mpl

    buffer = StringIO()
    # A fixed salt would give equal ids to equal elements of different figures; the object's identity does not.
    with mpl.rc_context({"svg.hashsalt": f"figure-{id(figure)}", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    drawn = text[text.index("<svg") :]
    prefix = f"f{id(figure):x}-"
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', drawn)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", drawn)


@functools.cache
def _asset(name: str) -> str:
    return resources.files("theodolite.report").joinpath(name).read_text(encoding="utf-8")


def _scripts(panels: Sequence[Panel]) -> str:
    """The bundle once, the figures as JSON, and what puts the one into the other."""
    # "<" could end the element early; "\/" is "/" in JavaScript, and keeps the bundle free of what looks like an address to fetch.
    figures = json.dumps([live(panel) for panel in panels], allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    bundle = (
        _asset("vendor/plotly-cartesian.min.js").replace("</script", "<\\/script").replace('href="https://', 'href="https:\\/\\/')
    )
    return (
        f"<script type='application/json' id=theodolite-figures>{figures}</script>\n"
        f"<script>{bundle}</script>\n<script>{_asset('live.js')}</script>\n"
    )


def _figure(panel: Panel, index: int) -> str:
    caption = f"<figcaption>{html.escape(panel.caption)}</figcaption>" if panel.caption else ""
    return f"<figure data-figure={index}><div class=static>{svg(static(panel))}</div>{caption}</figure>"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _widths(report: Report) -> str:
    sizes = " → ".join(str(report.widths[name]) for name in report.layers[:12])
    return f"widths {sizes}" + (" → …" if len(report.layers) > 12 else "")


def _words(report: Report, before: Report | None, names: tuple[str, str]) -> str:
    """The summary in words; with two reports also what changed, and the other's summary where it is of another network."""
    if before is None:
        return _listed(report.summary)
    parts = []
    differences = changed(before, report)
    if differences:
        parts.append(f"<h3>What changed from {html.escape(names[0])} to {html.escape(names[1])}</h3>{_listed(differences)}")
    parts += [f"<p class=small>{html.escape(_capital(sentence))}.</p>" for sentence in unmatched(before, report, names)]
    parts.append(f"<h3>{html.escape(names[0].capitalize())}</h3>{_listed(before.summary)}")
    parts.append(f"<h3>{html.escape(names[1].capitalize())}</h3>{_listed(report.summary)}")
    return "".join(parts)


def _listed(sentences: Sequence[tuple[str, str]]) -> str:
    if not sentences:
        return "<p class=calm>Nothing stands out: every judged quantity is in its good range.</p>"
    items = "".join(f"<li class={level}>{html.escape(_capital(text))}</li>" for level, text in sentences)
    return f"<ul class=summary>{items}</ul>"


def _capital(text: str) -> str:
    """A sentence with a capital letter, unless it begins with a dotted name."""
    return text if "." in text.split(" ")[0] else text[:1].upper() + text[1:]


def _unmeasured(report: Report) -> str:
    parts = []
    if report.unseen:
        parts.append(f"<p class=small>Operations that the tracer does not know: {html.escape(', '.join(report.unseen))}.</p>")
    if report.skipped:
        items = "".join(f"<li><code>{html.escape(k)}</code>: {html.escape(v)}</li>" for k, v in report.skipped.items())
        parts.append(f"<details><summary>Not measured ({len(report.skipped)})</summary><ul class=small>{items}</ul></details>")
    return "".join(parts)


def _prose(text: str) -> str:
    """A paragraph of a docstring: its lines joined, except indented ones, and code in code's type."""
    return re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", html.escape(re.sub(r"\n(?! )", " ", text)))


def _methods(report: Report) -> str:
    """Formula, domain and paper of every quantity, from its own documentation."""
    names = dict.fromkeys([*(row.quantity for row in report.rows), *(profile.quantity for profile in report.profiles)])
    items = []
    for name in names:
        quantity = quantity_named(name)
        text = (inspect.getdoc(quantity.function) or "").partition("\nArgs:")[0].partition("\n")[2].strip()
        options = ", ".join(f"{k} = {v!r}" for k, v in quantity.options.items())
        notes = [f"<p>{_prose(part)}</p>" for part in re.split(r"\n\s*\n", text) if part]
        notes += [f"<p>Options: <code>{html.escape(options)}</code></p>"] if options else []
        items.append(
            f"<details id='{html.escape(name)}'><summary><code>{html.escape(name)}</code> {html.escape(quantity.summary)}</summary>"
            f"{''.join(notes)}<p class=small>{html.escape(described(quantity.reference))}</p></details>"
        )
    probe = (
        "<p class=small>Quantities whose cost grows with the square of the number of samples were measured on the first "
        f"{report.probe} of them.</p>"
        if report.probe and report.probe < report.samples
        else ""
    )
    return "<h2>How each number was computed</h2><div class=methods>" + probe + "".join(items) + "</div>"
