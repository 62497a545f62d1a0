"""Figures of the experiments, drawn from records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theodolite.draw.style import COLORS, MUTED, figure, sequence, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.core.record import Record

__all__ = ["convergence", "helmholtz_table", "pinn_initialization", "pinn_rank", "rfm_fit", "rfm_vs_elm"]

_SCHEME = {"rfm": ("random features, m cells", "o-"), "elm": ("ELM, same R", "s--"), "elm matched": ("ELM, m R", "^:")}


def rfm_vs_elm(record: Record) -> Figure:
    """Error and ε-rank against the bandwidth R: a column per function, colours for activations, dashes for schemes."""
    data = record.data
    with style():
        columns = data.sizes["function"]
        fig, axes = figure(2, columns, width=6.4 if columns == 1 else 4.6, squeeze=False, sharex=True, sharey="row")
        for column, function in enumerate(data.function.values):
            for color, activation in zip(COLORS, data.activation.values, strict=False):
                for scheme in data.scheme.values:
                    label, marks = _SCHEME[scheme]
                    part = data.sel(function=function, activation=activation, scheme=scheme)
                    log = np.log10(part.error).mean("seed")
                    rank = part.epsilon_rank.isel(eps=0).mean("seed")
                    axes[0, column].loglog(data.R, 10**log, marks, color=color, label=f"{activation}, {label}")
                    axes[1, column].semilogx(data.R, rank, marks, color=color)
            axes[0, column].set_title(str(function))
            axes[1, column].set_xlabel("half-width R of U(−R, R), local coordinates")
            axes[1, column].set_xticks(data.R.values, [f"{r:g}" for r in data.R.values], minor=False)
            axes[1, column].minorticks_off()
        axes[0, 0].set_ylabel("relative L² error")
        axes[1, 0].set_ylabel(f"ε-rank, ε = {float(data.eps[0]):g}")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2 if columns == 1 else 3)
    return fig


def rfm_fit(record: Record) -> Figure:
    """The function and its fits, the pointwise errors, and error beside ε-rank."""
    data = record.data
    with style():
        fig, axes = figure(1, 3, width=4.4)
        axes[0].plot(data.x, data.exact, color=MUTED, lw=4, alpha=0.45, label="function")
        for color, scheme in zip(COLORS, data.scheme.values, strict=False):
            axes[0].plot(
                data.x, data.fit.sel(scheme=scheme), "--" if scheme == "elm" else "-", lw=1, color=color, label=scheme.upper()
            )
            error = np.maximum(data.pointwise_error.sel(scheme=scheme), 1e-17)
            axes[1].semilogy(data.x, error, lw=0.7, color=color, label=scheme.upper())
        axes[0].set(title="Fit", xlabel="x", ylabel="u(x)")
        low, high = float(data.exact.min()), float(data.exact.max())
        axes[0].set_ylim(low - 0.1 * (high - low), high + 0.35 * (high - low))
        axes[0].legend(ncols=3, loc="upper center")
        axes[1].set(title="Pointwise error", xlabel="x", ylabel="|fit − function|")
        places = np.arange(data.sizes["scheme"])
        axes[2].bar(places, data.epsilon_rank, width=0.5, color=COLORS[: len(places)])
        for place, rank, error in zip(places, data.epsilon_rank.values, data.error.values, strict=True):
            text = f"rank {rank}\nerror {error:.1e}"
            axes[2].annotate(text, (place, rank), ha="center", va="bottom", xytext=(0, 3), textcoords="offset points")
        axes[2].set(title="ε-rank, ε = 10⁻³", ylabel="ε-rank of all features")
        axes[2].set_xticks(places, [m.upper() for m in data.scheme.values])
        axes[2].set_ylim(0, 1.25 * float(data.epsilon_rank.max()))
        axes[2].grid(axis="x", visible=False)
    return fig


def _bands(axis, x, values, color, label) -> None:
    """Median over seeds with the range of all seeds."""
    axis.fill_between(x, values.min("seed"), values.max("seed"), color=color, alpha=0.18, lw=0)
    axis.plot(x, values.median("seed"), color=color, label=label)


def pinn_initialization(record: Record) -> Figure:
    """ε-rank of the last hidden layer, loss and error along training: a row per frequency; medians and ranges over seeds."""
    data = record.data
    with style():
        fig, axes = figure(data.sizes["frequency"], 3, squeeze=False, height=3.0)
        for row, frequency in enumerate(data.frequency.values):
            for color, name in zip(COLORS, data.initialization.values, strict=False):
                part = data.sel(frequency=frequency, initialization=name)
                _bands(axes[row, 0], data.step, part.epsilon_rank.isel(layer=-1), color, str(name))
                _bands(axes[row, 1], data.step, part.loss, color, str(name))
                _bands(axes[row, 2], data.step, part.error, color, str(name))
            axes[row, 0].set(ylabel=f"ω = {frequency:g}\nε-rank, last hidden layer", ylim=(0, None))
            axes[row, 1].set(yscale="log", ylabel="loss")
            axes[row, 2].set(yscale="log", ylabel="relative L² error")
        for axis in axes[-1]:
            axis.set_xlabel("step")
        axes[0, 0].set_title("ε-rank")
        axes[0, 1].set_title("Loss")
        axes[0, 2].set_title("Error")
        axes[0, 0].legend()
    return fig


def pinn_rank(record: Record) -> Figure:
    """The staircase: loss and ε-rank of one seed on one axis of steps; ε-rank per layer over all seeds."""
    data = record.data
    with style():
        fig, (left, right) = figure(1, 2, width=5.2)
        one = data.isel(seed=0)
        left.semilogy(data.step, one.loss, color=COLORS[0])
        left.set(title=f"Loss and ε-rank, seed {int(one.seed)}", xlabel="step")
        left.set_ylabel("loss", color=COLORS[0])
        twin = left.twinx()
        twin.step(data.step, one.epsilon_rank.isel(layer=-1), where="post", color=COLORS[1])
        twin.set_ylabel("ε-rank, last hidden layer", color=COLORS[1])
        twin.spines["right"].set_visible(True)
        twin.grid(visible=False)
        for number, color in enumerate(sequence(data.sizes["layer"])):
            _bands(right, data.step, data.epsilon_rank.isel(layer=number), color, f"hidden layer {number + 1}")
        right.set(title="Layers: median and range over seeds", xlabel="step", ylabel="ε-rank", ylim=(0, None))
        right.legend()
    return fig


def convergence(record: Record) -> Figure:
    """Error against features per subdomain, a panel per partition and a line per number of subdomains."""
    data = record.data
    with style():
        fig, axes = figure(1, data.sizes["partition"], squeeze=False, sharey=True)
        colors = sequence(data.sizes["subdomains"])
        for axis, partition in zip(axes[0], data.partition.values, strict=True):
            for color, m in zip(colors, data.subdomains.values, strict=True):
                log = np.log10(data.error.sel(partition=partition, subdomains=m)).mean("seed")
                axis.semilogy(data["count"], 10**log, "o-", color=color, label=f"m = {int(m)}")
            axis.set(title=f"{partition} partition", xlabel="features per subdomain J")
        axes[0, 0].set_ylabel("relative L² error")
        axes[0, -1].legend()
    return fig


def helmholtz_table(record: Record) -> Figure:
    """Greatest errors of all draws beside the published ones."""
    data = record.data
    with style():
        fig, axis = figure()
        for number, seed in enumerate(data.seed.values):
            errors = data.max_error.sel(seed=seed)
            axis.semilogy(
                data["count"], errors, "o", color=COLORS[0], alpha=0.6, label="here, one draw each" if not number else None
            )
        for color, source in zip(COLORS[1:], data.source.values, strict=False):
            axis.semilogy(data["count"], data.published.sel(source=source), "s--", color=color, label=f"published, {source}")
        axis.set(title="u″ − 10u = f, four elements", xlabel="features per element M", ylabel="greatest error")
        axis.set_xticks(data["count"].values)
        axis.legend()
    return fig
