"""Figures of the condensation experiments. They read records and never compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.draw.style import COLORS, INK, MUTED, figure, sequence, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = [
    "initial",
    "layerwise_phase",
    "multiplicity_task",
    "phase_diagram",
    "real_data",
    "regimes",
    "two_layer_training",
]

#: Names of the initialisations as they stand on the phase diagram; equal points share a label.
LABELS = {"ntk": "NTK", "mean_field": "mean field", "xavier": "Xavier", "lecun": "LeCun", "he": "He", "pytorch": "PyTorch"}
#: Inches that the title over the roses and the legend of the counts take.
LEAST_WIDTH = 7.0
START, END = "#56B4E9", "#D55E00"


def two_layer_training(record: Record) -> Figure:
    """Loss, output, and orientation–amplitude of one run (first seed; curves of all seeds)."""
    data = record.data
    with style():
        drawn, axes = figure(2, 2, width=5.2, height=3.5)
        _losses(axes[0, 0], data)
        _output(axes[0, 1], data)
        _neurons(axes[1, 0], data.isel(seed=0), title="Neurons, start and end")
        _distance_and_entropy(axes[1, 1], data)
        place = f"γ = {data.attrs['gamma']:.3g}, γ′ = {data.attrs['gamma_prime']:.3g}: {data.attrs['regime']}"
        settings = record.settings
        if data.attrs["regime"] == "undefined":
            place = "one neuron has no place in the phase diagram"
        drawn.suptitle(f"{settings['activation']}, m = {settings['width']}, t = {settings['t']:g}   ({place})", x=0.01, ha="left")
    return drawn


def regimes(record: Record) -> Figure:
    """Neurons before and after training, and the learnt function, one column per initial size."""
    data = record.data
    with style():
        drawn, axes = figure(3, len(data.t), width=2.7, height=2.5, squeeze=False)
        for k, t in enumerate(data.t.values):
            part = data.isel(t=k)
            _neurons(axes[0, k], part.isel(seed=0), title=f"t = {t:g}  ({part['regime'].values!s})", legend=k == 0)
            _output(axes[1, k], part, legend=k == 0, title="")
            _distance_and_entropy(axes[2, k], part, legend=k == 0)
            if k:
                for row in range(3):
                    axes[row, k].set_ylabel("")
    return drawn


def _losses(ax: Any, data: Any) -> None:
    epochs = np.maximum(data.epoch.values, 0.7)
    for name, color, label in (("loss", COLORS[0], "training"), ("test_loss", COLORS[1], "test")):
        for k, curve in enumerate(data[name].transpose("seed", "epoch").values):
            ax.plot(epochs, curve, color=color, lw=1.4, alpha=0.9 if k == 0 else 0.4, label=label if k == 0 else None)
    ax.set(xscale="log", yscale="log", xlabel="epoch", ylabel="mean (f − y)²", title="Loss")
    ax.legend()


def _output(ax: Any, data: Any, legend: bool = True, title: str = "Learnt function") -> None:
    x, first = data.position.values, data.isel(seed=0)
    ax.plot(x, first["target"].values, color=MUTED, lw=1.2, ls=(0, (4, 2)), label="target")
    colors = sequence(len(data.snapshot))
    for color, epoch in zip(colors, data.snapshot.values, strict=True):
        ax.plot(x, first["output"].sel(snapshot=epoch).values, color=color, lw=1.4, label=f"epoch {epoch}" if legend else None)
    ax.plot(data.training_x.values, first["training_y"].values, "o", color=INK, ms=5, zorder=5, label="data")
    low, high = float(first["target"].min()), float(first["target"].max())
    room = max(high - low, 1e-12)
    ax.set(xlabel="x", ylabel="f(x)", title=title, ylim=(low - 0.6 * room, high + 0.6 * room))
    if legend:
        ax.legend(fontsize=7.5, ncols=2, loc="upper center")


def _neurons(ax: Any, data: Any, title: str, legend: bool = True) -> None:
    """Amplitude over orientation at the first and the last snapshot, each as a share of its largest amplitude."""
    for index, color, label in ((0, START, "start"), (-1, END, "end")):
        part = data.isel(snapshot=index)
        angle, size = np.degrees(part["orientation"].values), part["amplitude"].values
        top = np.nanmax(size) if np.isfinite(size).any() else 1.0
        ax.scatter(angle, size / max(top, 1e-300), s=9, color=color, alpha=0.65, lw=0, label=f"{label} (max {top:.1e})")
    ax.set(
        xlim=(-180, 180), ylim=(-0.03, 1.05), xlabel="orientation atan2(b, w), degrees", ylabel="amplitude / largest", title=title
    )
    ax.set_xticks([-180, -90, 0, 90, 180])
    if legend:
        ax.legend(loc="upper right", fontsize=7.5, markerscale=1.6)


def _distance_and_entropy(ax: Any, data: Any, legend: bool = True) -> None:
    epochs = data.epoch.values[1:]
    ax.plot(epochs, data["relative_distance"].mean("seed").values[1:], color=COLORS[0], label="RD of (w, b)")
    ax.plot(epochs, data["relative_distance_a"].mean("seed").values[1:], color=COLORS[5], label="RD of a")
    ax.axhline(1, color=MUTED, lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel="epoch", ylabel="relative distance")
    twin = ax.twinx()
    twin.grid(False)
    twin.plot(epochs, data["orientation_entropy"].mean("seed").values[1:], color=COLORS[1], label="entropy")
    twin.set(ylim=(0, 1.05))
    twin.spines["right"].set_visible(True)
    if legend:
        twin.set_ylabel("orientation entropy")
        handles = ax.get_lines()[:2] + twin.get_lines()
        # Distances rise from below and the entropy falls from above: the left middle is free.
        ax.legend(handles, [h.get_label() for h in handles], loc="center left", fontsize=7.5)


def phase_diagram(record: Record) -> Figure:
    """S_w over (γ, γ′) with the boundary of the theorem and the well-known initialisations; and S_w against the exponent."""
    data = record.data
    gamma, prime = data.gamma.values, data.gamma_prime.values
    slope = data["S_w"].values
    with style():
        drawn, (left, right) = figure(1, 2, width=5.6, height=4.5, width_ratios=(1.35, 1))
        top = float(min(np.nanmax(np.abs(slope)), 2.0))
        mesh = left.pcolormesh(gamma, prime, slope.T, cmap="RdBu_r", vmin=-top, vmax=top, shading="nearest", rasterized=True)
        left.grid(False)
        bar = drawn.colorbar(mesh, ax=left, shrink=0.85, extend="min" if np.nanmin(slope) < -top else "neither")
        bar.set_label("$S_w$: slope of log RD over log m")
        bar.outline.set_visible(False)
        _boundary(left, gamma, prime)
        _named_points(left, data)
        left.set(xlabel="γ", ylabel="γ′", title="Phase diagram, two-layer ReLU")
        _exponents(right, data)
    return drawn


def _boundary(ax: Any, gamma: Any, prime: Any) -> None:
    """The critical boundary {γ = 1, γ′ ≤ 0} ∪ {γ′ = γ − 1, γ ≥ 1}, and the three words."""
    limits = _edges(gamma), _edges(prime)
    far = max(limits[0][1], limits[1][1] + 1) + 1
    for color, width in (("white", 4.5), (INK, 2.0)):
        ax.plot([1, 1, far], [limits[1][0] - 1, 0, far - 1], color=color, lw=width, solid_joinstyle="round")
    ax.set(xlim=limits[0], ylim=limits[1])
    box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": "none", "alpha": 0.75}
    style_of = {"color": INK, "fontsize": 10, "ha": "center", "va": "center", "bbox": box}
    (g0, g1), (p0, p1) = limits
    ax.text(g0 + 0.2 * (g1 - g0), p0 + 0.88 * (p1 - p0), "linear", **style_of)
    ax.text(g0 + 0.8 * (g1 - g0), p0 + 0.12 * (p1 - p0), "condensed", **style_of)
    ax.text(1, p0 + 0.12 * (p1 - p0), "critical", rotation=90, **style_of)


def _named_points(ax: Any, data: Any) -> None:
    places: dict[tuple[float, float], list[str]] = {}
    for name, g, p in zip(data.initialisation.values, data["named_gamma"].values, data["named_gamma_prime"].values, strict=True):
        places.setdefault((float(g), float(p)), []).append(LABELS.get(str(name), str(name)))
    for (g, p), names in places.items():
        inside = ax.get_xlim()[0] <= g <= ax.get_xlim()[1]
        if not inside:
            continue
        ax.plot(g, p, "o", ms=7, mfc="white", mec=INK, mew=1.5, zorder=5, clip_on=False)
        ax.annotate(
            ", ".join(names), (g, p), xytext=(9, 7), textcoords="offset points", fontsize=8.5, color=INK, zorder=6,
            bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _exponents(ax: Any, data: Any) -> None:
    """Measured slope against the exponent of the balance argument, coloured by the theorem's regime."""
    measured, expected, kind = (data[n].values.ravel() for n in ("S_w", "exponent", "regime"))
    error = data["S_w_error"].values.ravel()
    for word, color in (("linear", COLORS[0]), ("critical", INK), ("condensed", COLORS[1])):
        some = kind == word
        if some.any():
            bars = np.nan_to_num(error[some])
            ax.errorbar(expected[some], measured[some], bars, fmt="o", ms=3.5, lw=0.7, color=color, alpha=0.7, label=word)
    span = [min(expected.min(), measured.min()), max(expected.max(), measured.max())]
    ax.plot(span, span, color=MUTED, lw=1, zorder=0)
    ax.axhline(0, color=MUTED, lw=0.6)
    ax.set(xlabel="exponent S by leading-order balance", ylabel="measured $S_w$", title="Slope against theory")
    ax.legend()


def _edges(values: Any) -> tuple[float, float]:
    half = 0.5 * (values[1] - values[0]) if len(values) > 1 else 0.5
    return float(values.min() - half), float(values.max() + half)


def layerwise_phase(record: Record) -> Figure:
    """S_w of each layer over the sizes of the inner and the outer layers."""
    data = record.data
    top = float(min(max(np.abs(data["S_w"].values).max(), 0.1), 2.0))
    with style():
        drawn, axes = figure(1, len(data.layer), width=3.4, height=3.1, squeeze=False, sharey=True)
        for ax, layer in zip(axes[0], data.layer.values, strict=True):
            values = data["S_w"].sel(layer=layer).transpose("t_output", "t_hidden").values
            # Cells of equal size, labelled with their exponents: a grid of one row or column is drawn too.
            mesh = ax.pcolormesh(values, cmap="RdBu_r", vmin=-top, vmax=top)
            ax.grid(False)
            ax.set(title=str(layer), xlabel="t of hidden layers")
            ax.set_xticks(np.arange(len(data.t_hidden)) + 0.5, [f"{t:g}" for t in data.t_hidden.values])
            ax.set_yticks(np.arange(len(data.t_output)) + 0.5, [f"{t:g}" for t in data.t_output.values])
            for (row, column), value in np.ndenumerate(values):
                dark = abs(value) > 0.6 * top
                ax.text(
                    column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else INK
                )
        axes[0, 0].set_ylabel("t of output layer")
        beyond = bool(np.abs(data["S_w"].values).max() > top)
        bar = drawn.colorbar(mesh, ax=list(axes[0]), shrink=0.9, extend="both" if beyond else "neither")
        bar.set_label("$S_w$ of the layer")
        bar.outline.set_visible(False)
    return drawn


def initial(record: Record) -> Figure:
    """Predicted and trained directions on the circle (one-dimensional inputs), and counts for all dimensions."""
    data = record.data
    names = data.activation.values
    plane = 1 in data.dimension.values
    columns = min(5, len(names))
    rows = -(-len(names) // columns) if plane else 0
    from matplotlib.figure import Figure

    with style():
        drawn = Figure(figsize=(max(2.25 * columns + 0.6, LEAST_WIDTH), 2.45 * rows + 2.9))
        grid = drawn.add_gridspec(rows + 1, columns, height_ratios=[2.3] * rows + [2.4])
        if plane:
            for k, name in enumerate(names):
                ax = drawn.add_subplot(grid[k // columns, k % columns], projection="polar")
                _rose(ax, data.sel(dimension=1, activation=name), str(name))
        _counts(drawn.add_subplot(grid[rows, :]), data)
        if plane:
            drawn.suptitle("Orientations at initial condensation: predicted (lines) and trained (dots)", x=0.01, ha="left")
    return drawn


def _rose(ax: Any, cell: Any, name: str) -> None:
    """Predicted directions as rays (long: strong; dotted: shrinking), trained ones as dots of their mass."""
    predicted, seen = cell["predicted_vector"].values[:, :2], cell["trained_vector"].values[:, :2]
    strength, sign = np.abs(cell["predicted_strength"].values), cell["predicted_sign"].values
    growing, mass = cell["predicted_growing"].values, cell["trained_mass"].values
    known = np.isfinite(predicted[:, 0])
    top = np.nanmax(strength) if known.any() else 1.0
    for k in np.flatnonzero(known):
        angle = np.arctan2(predicted[k, 1], predicted[k, 0])
        reach = 0.35 + 0.5 * np.sqrt(strength[k] / top)
        color = COLORS[1] if sign[k] > 0 else COLORS[0]
        ax.plot([angle, angle], [0, reach], color=color, lw=2.2, ls="-" if growing[k] else ":", alpha=0.9, solid_capstyle="round")
    shown = np.isfinite(seen[:, 0])
    angles = np.arctan2(seen[shown, 1], seen[shown, 0])
    ax.scatter(angles, np.full(shown.sum(), 0.97), s=18 + 90 * mass[shown], color=INK, zorder=5, lw=0)
    p = int(cell["multiplicity"])
    ax.set_title(f"{name}  ({'p = ' + str(p) if p else 'kink'})", fontsize=10, loc="center")
    ax.set_ylim(0, 1.08)
    ax.set_yticks([])
    ax.set_xticks(np.radians([0, 90, 180, 270]), ["w", "b", "", ""], fontsize=8)
    ax.spines["polar"].set_color("#CBD2D9")


def _counts(ax: Any, data: Any) -> None:
    names, place = [str(n) for n in data.activation.values], np.arange(len(data.activation))
    dims = data.dimension.values
    width = 0.8 / (2 * len(dims))
    for k, d in enumerate(dims):
        part = data.sel(dimension=d)
        at = place + (2 * k + 0.5 - len(dims)) * width
        ax.bar(at, part["predicted_resolved"].values, 0.92 * width, color=COLORS[k], alpha=0.4, label=f"predicted, d = {d}")
        ax.bar(at + width, part["trained"].values, 0.92 * width, color=COLORS[k], label=f"trained, d = {d}")
    p = data["multiplicity"].isel(dimension=0).values
    smooth = np.flatnonzero(p > 0)
    for j in smooth:
        label = "2p" if j == smooth[0] else None
        ax.plot([j - 0.45, j + 0.45], [2 * p[j]] * 2, color=INK, lw=1.2, ls=(0, (3, 2)), label=label)
    ax.set_xticks(place, names)
    ax.set(ylabel="orientations", title="Number of directions")
    ax.grid(False, axis="x")
    ax.legend(ncols=len(dims) * 2 + 1, fontsize=8, loc="upper left")
    ax.margins(y=0.25)


def multiplicity_task(record: Record) -> Figure:
    """Predicted and trained number of directions against 2p, and the notebook's own cell."""
    data = record.data
    with style():
        drawn, (left, right) = figure(1, 2, width=5.2, height=3.8, width_ratios=(1.5, 1))
        _against_bound(left, data)
        if "cell_gradient" in data:
            p = data.cell_p.values
            right.plot(p, data["cell_gradient"].values, "o-", color=COLORS[0], label="median gradient at the start")
            right.plot(p, data["cell_movement"].values, "s-", color=COLORS[2], label="relative distance at the end")
            right.axhline(data.attrs["cell_eps"], color=COLORS[1], lw=1.4, ls=(0, (4, 2)), label="Adam's eps")
            for x, n in zip(p, data["cell_predicted"].values, strict=True):
                right.annotate(f"{n} predicted", (x, 4e-21), ha="center", fontsize=8, color=INK)
            right.set(yscale="log", xlabel="multiplicity p", title="The notebook's own cell", xlim=(0.6, 3.4), ylim=(1e-21, 1e3))
            right.set_xticks(p)
            right.legend(fontsize=8, loc="upper right")
        else:
            right.set_axis_off()
    return drawn


def _against_bound(ax: Any, data: Any) -> None:
    dims = sorted(set(data.dimension.values.tolist()))
    top = int(max(data["predicted"].max(), data["trained"].max(), data["bound"].max())) + 1
    ax.plot([0.6, 3.4], [1.2, 6.8], color=INK, lw=1.2, ls=(0, (4, 2)), label="2p")
    ax.fill_between([0.6, 3.4], [1.2, 6.8], top + 1, color=MUTED, alpha=0.1, lw=0)
    for k, d in enumerate(dims):
        for j, case in enumerate(np.flatnonzero((data.dimension.values == d) & (data["data_seed"].values >= 0))):
            at = data["p"].values[case] + 0.2 * (k - (len(dims) - 1) / 2)
            ax.plot(
                at,
                data["predicted"].values[case],
                "o",
                ms=10,
                mfc="none",
                mec=COLORS[k],
                mew=1.6,
                label=f"predicted, d = {d}" if j == 0 else None,
            )
            ax.plot(at, data["trained"].values[case], ".", ms=8, color=COLORS[k], label=f"trained, d = {d}" if j == 0 else None)
    for case in np.flatnonzero(data["data_seed"].values < 0):
        at = data["p"].values[case] + 0.3
        ax.plot(at, data["predicted"].values[case], "o", ms=10, mfc="none", mec=COLORS[1], mew=1.6)
        ax.plot(at, data["trained"].values[case], ".", ms=8, color=COLORS[1])
        ax.annotate(
            "counterexample",
            (at, data["predicted"].values[case]),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
        )
    ax.set(
        xlim=(0.6, 3.4), ylim=(0, top), xlabel="multiplicity p", ylabel="orientations", title="Number of directions against 2p"
    )
    ax.set_xticks([1, 2, 3])
    ax.legend(fontsize=8, loc="upper left")


def real_data(record: Record) -> Figure:
    """Cosine heat maps of the first layer, and curves, one row per initial size."""
    data = record.data
    stds = data["std"].values
    with style():
        drawn, axes = figure(len(stds), len(data["map"]) + 1, width=2.9, height=2.6, squeeze=False)
        for row, std in enumerate(stds):
            part = data.isel(std=row)
            for column, share in enumerate(data["map"].values):
                ax = axes[row, column]
                image = ax.imshow(part["cosine_similarity"].isel(map=column).values, cmap="RdBu_r", vmin=-1, vmax=1)
                ax.set_axis_off()
                ax.set_title(f"loss at {share:.0%}  (epoch {int(part['map_epoch'].isel(map=column))})", fontsize=9)
            axes[row, 0].text(
                -0.08,
                0.5,
                f"std {std:g}",
                transform=axes[row, 0].transAxes,
                rotation=90,
                va="center",
                ha="center",
                fontweight="bold",
            )
            ax = axes[row, -1]
            look = np.maximum(part.look.values, 0.7)
            ax.plot(look, part["loss"].values / part["loss"].values[0], color=INK, label="loss / start")
            ax.plot(look, part["cosine_to_line"].values, color=COLORS[1], label="mean |cos| to the line")
            ax.plot(look, part["orientation_entropy"].values, color=COLORS[0], label="entropy")
            ax.set(xscale="log", ylim=(0, 1.08), xlabel="epoch" if row == len(stds) - 1 else "")
            if row == 0:
                ax.legend(fontsize=7.5, loc="lower left", bbox_to_anchor=(-0.05, 1.0))
        bar = drawn.colorbar(image, ax=list(axes[:, :-1].ravel()), shrink=0.5, location="left", pad=0.06)
        bar.set_label("cosine similarity of neurons")
        bar.outline.set_visible(False)
    return drawn
