"""Few network calls: bound and distance against the number of calls, and the best attainable bound."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nonnormal.study.experiments.few_steps.tables import few_steps, of_study
from nonnormal.study.report import theme
from nonnormal.study.report.names import basis_name, choice_name, distance_name, step_name

_CHOICES = ("unit", "scale", "diagonal", "conditional", "residuals")
_COLOURS = dict(zip(_CHOICES, sns.color_palette("colorblind"), strict=False)) | {"optimum": "black", "rule": "black"}
_SHOWN = ("unit", "scale", "scale+shape", "conditional+shape")  # of the bounds
_MARKERS = {"pixel": "o", "dct": "s", "fourier": "P", "haar": "D", "pca": "v", "residual_pca": "^"}


def bounds(summary: pd.DataFrame) -> Figure:
    """Left: whole bound, mean over networks; right: diffusion term on the first mixture, above the optimum."""
    theme.apply()
    table = few_steps(summary, "fid")
    figure, (left, right) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.2), width_ratios=(1.4, 1))
    of_network = of_study(table)
    of_network = of_network[(of_network.measure == "bpd_total") & (of_network.basis == "pixel")]
    for choice in _SHOWN:
        rows = of_network[of_network.choice == choice]
        _line(left, rows[rows.grid == "uniform"], choice, choice_name(choice))
        _line(left, rows[rows.grid == "searched"], choice, f"{choice_name(choice)}, searched times", hollow=True)
    left.set_ylabel("bound, bits/dim")
    left.legend(fontsize=6.8)
    exact = table[(table.measure == "optimum") & (table.step == "normal")]
    exact = exact[exact.mixture == exact.mixture.iloc[0]] if len(exact) else exact
    least = exact[exact.choice == "optimum"].set_index("T").value
    for choice in ("unit", "scale", "scale+shape"):
        rows = exact[exact.choice == choice]
        above = {name: rows[name] - least[rows["T"]].to_numpy() for name in ("value", "low", "high")}
        _line(right, rows.assign(**above), choice, choice_name(choice))
    right.set_ylabel("diffusion term − the best attainable, bits")
    right.legend(fontsize=6.8)
    for panel, rows in ((left, of_network), (right, exact)):
        panel.set(xscale="log", yscale="log", xlabel="timesteps T")
        theme.plain_ticks(panel.xaxis, sorted(rows["T"].unique()))
    theme.plain_log(left.yaxis)
    return figure


def families(summary: pd.DataFrame) -> Figure:
    """The best attainable diffusion term against T for each step q of the true process, a panel a mixture."""
    theme.apply()
    rows = summary[(summary.metric == "few_steps_optimum") & (summary.choice == "optimum")]
    mixtures = list(dict.fromkeys(rows.mixture))
    width = theme.WIDTH if len(mixtures) > 1 else 0.6 * theme.WIDTH
    figure, panels = plt.subplots(1, len(mixtures), figsize=(width, 3.6), squeeze=False)
    for panel, mixture in zip(panels[0], mixtures, strict=True):
        for step, line in rows[rows.mixture == mixture].groupby("step", sort=False):
            line = line.sort_values("T")
            panel.plot(line["T"].astype(float), line.value, lw=1.1, markersize=3.5, **theme.step_style(step))
        panel.set(xscale="log", yscale="log", xlabel="timesteps T", title=f"{mixture} mixture")
        theme.plain_ticks(panel.xaxis, sorted(rows["T"].unique()))
        theme.plain_log(panel.yaxis)
    panels[0, 0].set_ylabel("best attainable diffusion term, bits")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4 if len(mixtures) > 1 else 3, fontsize=7)
    return figure


def samples(summary: pd.DataFrame, fid: str) -> Figure:
    """Left: distance by choice; right: what a factor on the noise adds, by family and number of calls."""
    theme.apply()
    table = few_steps(summary, fid)
    table = of_study(table[table.measure.isin(("fid", "fid_difference", "rule"))])
    figure, (left, right) = plt.subplots(1, 2, figsize=(theme.WIDTH, 3.2))
    found = table[table.measure == "fid"]
    plain = found[(found.choice == "unit") & (found.step == "normal") & (found.factor == 1)]
    _line(left, plain, "unit", "unit")
    fitted = found[found.choice != "unit"]
    for (choice, basis), rows in fitted.groupby(["choice", "basis"], sort=False):
        label = choice_name(choice) + ("" if basis == "pixel" else f", {basis_name(basis)}")
        _line(left, rows, choice, label, marker=_MARKERS[basis])
    rule = table[table.measure == "rule"]
    normal = plain.set_index("T").value.reindex(rule["T"]).to_numpy()
    gained = {name: normal + rule[name] for name in ("value", "low", "high")}
    _line(left, rule.assign(**gained), "rule", "the best for other networks", hollow=True, marker="s")
    left.set(xscale="log", yscale="log", xlabel="network calls", ylabel=distance_name(fid))
    theme.plain_log(left.yaxis)
    theme.plain_ticks(left.xaxis, sorted(found["T"].unique()))
    left.set_ylim(top=4 * left.get_ylim()[1])  # room for the legend
    left.legend(fontsize=6.8)
    gaps = table[(table.measure == "fid_difference") & (table.choice == "unit")]
    calls = sorted(gaps["T"].unique())
    shades = dict(zip(calls, sns.color_palette("viridis", len(calls)), strict=True))
    # The normal step at every number of calls; other families where they differ most, at the fewest.
    for i, (step, nfe) in enumerate((step, nfe) for step in gaps.step.unique() for nfe in calls):
        if step != "normal" and nfe != calls[0]:
            continue
        rows = gaps[(gaps.step == step) & (gaps["T"] == nfe)].sort_values("factor")
        style = theme.step_style(step) | {"label": f"{theme.literal(step_name(step))}, {nfe:.0f} calls"}
        style |= {"markersize": 3.5}
        style |= {"color": shades[nfe]} if step == "normal" else {"linestyle": "--"}
        theme.errorbar(right, rows.factor + 0.002 * i, rows, capsize=1.5, lw=1, **style)
    right.axhline(0, color="0.5", lw=0.8, zorder=0)
    right.set(xlabel="factor on the unit step's noise", ylabel=f"{distance_name(fid)} − the normal unit step's")
    if len(gaps):
        low, high = right.get_ylim()
        right.set_ylim(low, high + 0.4 * (high - low))  # room for the legend
        right.legend(fontsize=6.2)
    return figure


def _line(
    panel: Axes, rows: pd.DataFrame, choice: str, label: str, hollow: bool = False, marker: str | None = None
) -> None:
    """Values against T with their intervals; a shape is dashed, the unit step wide and pale."""
    if rows.empty:
        return
    rows = rows.sort_values("T")
    spread, _, shape = choice.partition("+")
    style = {"color": _COLOURS[spread], "linestyle": "--" if shape else "-", "marker": marker or "os"[bool(shape)]}
    if hollow:
        style |= {"markerfacecolor": "white", "linestyle": ":"}
    theme.errorbar(panel, rows["T"], rows, label=label, markersize=3.5, capsize=1.5, lw=1.1, **style)
