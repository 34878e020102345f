"""Other representations and schedules: their order, their noise, their scores, and images outpainted by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle
from torch import Tensor

from nonnormal.analysis.information import effective_components, information
from nonnormal.bases import BasisStatistics
from nonnormal.data import scale
from nonnormal.objectives.losses import Design, marginal_state
from nonnormal.study.config.build import design
from nonnormal.study.report import theme
from nonnormal.study.report.names import distance_name
from nonnormal.study.results.context import Context

_SAMPLED = "#c8553d"
_SWEEP = 3  # fewest softnesses that are drawn as a line
_TIMES = torch.linspace(0, 1, 201, dtype=torch.float64)


def order(designs: Mapping[str, tuple[Design, BasisStatistics]]) -> Figure:
    """SNR paths of the components of each design; below, how much is known of each component at each time.

    The colour of a line is the component's place in the order; light ones are generated last.
    """
    theme.apply()
    titles = [name.replace(", ", ",\n").replace(" by ", "\nby ") for name in designs]
    height = 3.3 + 0.17 * max(title.count("\n") for title in titles)
    figure, axes = plt.subplots(
        2, len(designs), figsize=(theme.WIDTH, height), sharex=True, sharey="row", squeeze=False, height_ratios=(1.2, 1)
    )
    for column, title, (point, parts) in zip(axes.T, titles, designs.values(), strict=True):
        known, gain = (value.flatten(1) for value in information(point.process, parts.variance, _TIMES, parts.floor))
        late = (gain * _TIMES[:, None]).sum(0) / gain.sum(0)  # when a component is noised, on average
        ranks = late.argsort().argsort().double() / max(len(late) - 1, 1)
        snr, _ = point.process.log_snr_rate(_TIMES)
        log_snr = (parts.variance * (snr if snr.dim() > 1 else snr[:, None, None, None])).log().flatten(1)
        for line, rank in zip(log_snr.T, ranks, strict=True):
            column[0].plot(_TIMES.numpy(), line.numpy(), color=plt.cm.viridis(1 - rank.item()), lw=0.7)
        column[0].set_title(title, fontsize="medium")
        rows = (known / known[0])[:, late.argsort(descending=True)].T.numpy()
        picture = column[1].imshow(
            rows, aspect="auto", extent=(0, 1, len(late), 0), cmap="viridis", vmin=0, vmax=1, interpolation="nearest"
        )
        column[1].grid(False)
        at_once = effective_components(point.process, parts.variance, parts.floor)
        column[1].set_xlabel(f"t\n{at_once:.0f} of {len(late)} at once")
    axes[0, 0].set(ylabel="log-SNR of\ncomponent", ylim=(-15, 20))
    axes[1, 0].set_ylabel("component, first\ngenerated on top")
    figure.colorbar(picture, ax=axes[1, :].tolist(), label="share known", pad=0.01)
    return figure


def corruption(designs: Mapping[str, tuple[Design, BasisStatistics]], image: Tensor, n_columns: int = 9) -> Figure:
    """One image on its way to noise under each design: the state as an image, at equal times, from the same noise."""
    theme.apply()
    figure, axes = plt.subplots(
        len(designs), n_columns, figsize=(theme.WIDTH, 0.62 * len(designs) + 0.25), squeeze=False
    )
    for i, (row, (name, (point, _))) in enumerate(zip(axes, designs.items(), strict=True)):
        c0 = point.basis.forward(image.double().unsqueeze(0))
        noise = torch.randn(c0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for axis, t in zip(row, np.linspace(0, 1, n_columns), strict=True):
            shown = point.basis.inverse(marginal_state(point.process, c0, float(t), noise))[0]
            axis.imshow(_pixels(shown), cmap="gray_r", vmin=-1, vmax=1)
            theme.bare(axis)
            if i == 0:
                axis.set_title(f"t = {t:.3g}", fontsize="small")
        row[0].set_ylabel(name.replace(", ", ",\n"), rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _pixels(x: Tensor) -> np.ndarray:
    """An image (C, H, W) for imshow: grey, or colours in [0, 1]."""
    return x[0].numpy() if x.shape[0] == 1 else ((x.permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy()


def representations(summary: pd.DataFrame, fid: str, labels: Mapping[str, str], trainings: pd.DataFrame) -> Figure:
    """Bits/dim and FID of each design with 95 % intervals; FID at the largest number of steps.

    Each training of a network that was trained several times is a faint mark.

    Networks of one basis and pair with three softnesses or more are drawn as a line against the softness, a column a
    basis, and the others below, a row each.
    """
    theme.apply()
    most = summary[summary.metric == f"representation_{fid}"].nfe.max()
    queries = {
        "bits/dim, normal-limit bound": "metric == 'representation_bpd_total' and bound == 'normal'",
        f"{distance_name(fid)}, {most} calls": f"metric == 'representation_{fid}' and nfe == {most}",
    }
    scores = {title: (summary.query(query), trainings.query(query)) for title, query in queries.items()}
    swept = _swept(next(iter(scores.values()))[0], labels)
    alone = {name: label for name, label in labels.items() if name not in swept.index}
    heights = [3.6 * bool(len(swept)), (0.27 * len(alone) + 0.9) * bool(alone)]
    figure = plt.figure(figsize=(theme.WIDTH, sum(heights)))
    parts = figure.subfigures(2, 1, height_ratios=heights) if all(heights) else [figure, figure]
    if len(swept):
        _sweeps(parts[0], scores, swept)
    if alone:
        _strip(parts[1], scores, alone)
    return figure


def _swept(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Basis, softness (infinite if all components have one SNR) and pair of the runs in a sweep, by run."""
    rows = rows[(rows.schedule == "component_wise") & (rows.labels == "variance") & ~rows.whitened]
    basis = rows.run.map(lambda run: labels[run].split(",")[0])
    found = pd.DataFrame({"run": rows.run, "basis": basis, "softness": rows.softness.fillna(np.inf)})
    found = found.assign(q=rows.q, p=rows.p).set_index("run")
    return found.groupby(["basis", "q", "p"], sort=False).filter(lambda group: group.softness.nunique() >= _SWEEP)


Scores = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]  # rows of means and of trainings, by title


def _sweeps(figure: FigureBase, scores: Scores, swept: pd.DataFrame) -> None:
    """A column a basis, a row a score, lines against the softness."""
    columns = list(dict.fromkeys(swept.basis))
    places = {softness: place for place, softness in enumerate(sorted(swept.softness.unique()))}
    axes = figure.subplots(len(scores), len(columns), sharex=True, sharey="row", squeeze=False)
    for row, (title, both) in zip(axes, scores.items(), strict=True):
        rows, single = (
            part.set_index("run")[["q", "p", "value", "low", "high"]]
            .join(swept[["basis", "softness"]], how="inner")
            .sort_values("softness")
            for part in both
        )
        for axis, basis in zip(row, columns, strict=True):
            for q, p in dict.fromkeys(zip(swept.q, swept.p, strict=True)):
                line = rows[(rows.basis == basis) & (rows.q == q) & (rows.p == p)]
                style = theme.step_style(p) | {"label": f"{q}/{p}", "lw": 1, "capsize": 2, "markersize": 4}
                theme.errorbar(axis, line.softness.map(places), line, **style)
                marks = single[(single.basis == basis) & (single.q == q) & (single.p == p)]
                theme.faint(axis, marks.softness.map(places), marks.value, style)
        row[0].set_ylabel(title.replace(", ", ",\n"))
    for axis, basis in zip(axes[0], columns, strict=True):
        axis.set_title(basis)
    for axis in axes[-1]:
        texts = ["one\nSNR" if softness == np.inf else f"{softness:g}" for softness in places]
        axis.set_xticks(list(places.values()), texts)
    figure.supxlabel("softness", fontsize="medium")
    axes[0, 0].legend(fontsize="small")


def _strip(figure: FigureBase, scores: Scores, labels: Mapping[str, str]) -> None:
    """A row a network, a column a score."""
    names = list(labels)
    axes = figure.subplots(1, len(scores), sharey=True)
    for axis, (title, (rows, single)) in zip(axes, scores.items(), strict=True):
        for row in rows[rows.run.isin(names)].itertuples():
            style = theme.step_style(row.p) | {"label": None}
            y = len(names) - 1 - names.index(row.run)
            axis.errorbar(row.value, y, xerr=[[row.value - row.low], [row.high - row.value]], capsize=2, **style)
            marks = single[single.run == row.run].value
            theme.faint(axis, marks, [y] * len(marks), style, marker="|")
        axis.set_xlabel(title)
    axes[0].set_yticks(range(len(names)), [labels[name] for name in reversed(names)])


def outpainting(images: Mapping[str, Tensor], levels: int) -> Figure:
    """Held-out images, the same with their right half sampled, and outpainted beyond the border, part by part.

    Given parts have a grey frame, sampled parts a red one.
    """
    theme.apply()
    given, inpainted, outpainted = (
        images[name].double() / (levels - 1) for name in ("given", "inpainted", "outpainted")
    )
    size = given.shape[-1]
    ratios = (size, size, outpainted.shape[-1])
    figure, axes = plt.subplots(
        len(given), 3, figsize=(theme.WIDTH * 0.7, 0.5 * len(given) + 0.3), width_ratios=ratios, squeeze=False
    )
    half = size // 2
    edges = {
        "held out": (0, size),
        "right half sampled": (0, half, size),
        "outpainted to the right": (0, *range(size, ratios[-1] + 1, half)),
    }
    for i, (row, trio) in enumerate(zip(axes, zip(given, inpainted, outpainted, strict=True), strict=True)):
        for axis, image, (title, its) in zip(row, trio, edges.items(), strict=True):
            _parts(axis, image, its)
            if i == 0:
                axis.set_title(title, fontsize="small")
    return figure


def _parts(axis: Axes, image: Tensor, edges: Sequence[int]) -> None:
    """An image (C, H, W) in [0, 1] cut at columns, its parts framed and apart; the first of them is given."""
    height, gap = image.shape[1], image.shape[1] / 8
    for i, (start, end) in enumerate(pairwise(edges)):
        part, left = image[..., start:end].permute(1, 2, 0).numpy(), start + i * gap
        extent = (left, left + end - start, height, 0)
        axis.imshow(part, cmap="gray_r" if part.shape[-1] == 1 else None, vmin=0, vmax=1, extent=extent)
        colour, width = (_SAMPLED, 1.0) if i else ("0.6", 0.6)
        frame = Rectangle((left, 0), end - start, height, fill=False, ec=colour, lw=width, clip_on=False)
        axis.add_patch(frame)
    axis.set(xlim=(0, edges[-1] + (len(edges) - 2) * gap), ylim=(height, 0))
    theme.bare(axis)


def drawn_order(context: Context) -> Figure:
    """The order of components of the study's designs."""
    return order(_points(context))


def drawn_corruption(context: Context) -> Figure:
    """The first held-out image under the study's designs."""
    data = context.data
    return corruption(_points(context), scale(data.test.images[0], data.levels))


def drawn_outpainting(context: Context) -> Figure:
    """The images that the study's network inpainted and outpainted."""
    return outpainting(context.arrays("outpainting"), context.levels)


def _points(context: Context) -> dict[str, tuple[Design, BasisStatistics]]:
    """(design, statistics of its basis) of each network that is shown, by its label."""
    points = {}
    for run in context.study.representations.shown:
        settings, parts = context.study.run(run), context.network(run).components
        points[f"{settings.basis}, {settings.process.schedule}"] = design(settings, parts), parts
    return points
