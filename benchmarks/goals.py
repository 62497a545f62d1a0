"""Goals beside measured values: what was to be reached, what was, and whether it is met."""

from __future__ import annotations

from typing import Any


def times(ratio: float) -> str:
    """A ratio with three digits, or whole where it has more."""
    return f"{ratio:,.0f}" if ratio >= 1000 else f"{ratio:.3g}"


def judge(case: Any, result: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry per goal of the case: ``goal`` in words, ``measured`` in words, ``met`` (None where it could not be measured).

    A key of ``GOALS`` is a contender, to be compared with ours, or a pair (one of our variants, a contender).
    """
    rows = {row["name"]: row for row in result["contenders"]}
    missing = {"error": result.get("skipped", "not run")}
    found = []
    for key, factor in getattr(case, "GOALS", {}).items():
        variant, contender = key if isinstance(key, tuple) else ("theodolite", key)
        ours, row = rows.get(variant, missing), rows.get(contender, missing)
        prefix = f"{variant}: " if isinstance(key, tuple) else ""
        goal = prefix + (
            f"≥ {times(factor)}× {contender}" if factor >= 1 else f"at most {1 / factor:.3g}× the time of {contender}"
        )
        lacking = next((r["error"] for r in (ours, row) if "median_s" not in r), None)
        if lacking is not None:
            found.append({"goal": goal, "measured": lacking, "met": None})
            continue
        ratio = row["median_s"] / ours["median_s"]
        shown = f"{times(ratio)}×" if factor >= 1 else f"{1 / ratio:.3g}× its time"
        found.append({"goal": goal, "measured": shown, "met": bool(ratio >= factor)})
    ours = rows.get("theodolite", missing)
    for key, most in getattr(case, "LIMITS", {}).items():
        unit = {"median_s": "s", "working_mb": "MB above what was loaded", "peak_rss_mb": "MB peak"}[key]
        value = ours.get(key)
        measured = ours.get("error", "not measured") if value is None else f"{value:.3g} {unit}"
        found.append(
            {"goal": f"at most {most:g} {unit}", "measured": measured, "met": None if value is None else bool(value <= most)}
        )
    return found
