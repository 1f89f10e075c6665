"""Draws what RESULTS.md shows: upserts, scans and gets against each other; sustained rates; scans; YCSB.

In: a summary. Out: PNG files, and their names with titles.
"""

from statistics import median

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from peerbench.plan import OURS  # noqa: E402
from peerbench.summary import number  # noqa: E402

COLORS = {
    OURS: "#d62728",
    "duckdb": "#f2b701",
    "duckdb-swap": "#c08a00",
    "duckdb-nokey": "#7a5c00",
    "chdb": "#e68310",
    "delta": "#11a579",
    "lance": "#7f3c8d",
    "rocksdict": "#3969ac",
    "sqlite": "#80ba5a",
    "datafusion": "#555555",
    "polars": "#008695",
}


def color(peer):
    return COLORS.get(peer, "#999999")


def draw(summary, out):
    plt.rcParams.update(
        {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25}
    )
    drawings = [
        ("overview.png", "Upserts, scans and gets", overview),
        ("sustained.png", "Sustained upserts", sustained),
        ("scans.png", "TPC-H Q1 over time", scans),
        ("ycsb.png", "YCSB", ycsb),
    ]
    made = []
    for name, title, function in drawings:
        figure = function(summary)
        if figure:
            figure.savefig(out / name, dpi=130, bbox_inches="tight")
            plt.close(figure)
            made.append((name, title))
    return made


def points(summary, rows, table, column):
    """Of each peer: rows a second that Q1 goes through right after upserts, and another figure."""
    found = {}
    for peer in summary.run["peers"]:
        scan, other = summary.median("w3 after_w2a", "Q1", peer), summary.median(table, column, peer)
        if scan and other:
            found[peer] = (rows / scan * 1e3, other)
    return found


def logarithmic(axis, unit):
    """A logarithmic axis with few, plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, unit)))
    axis.set_minor_formatter(NullFormatter())


def overlaps(box, other):
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def label_points(axes, found):
    """Names beside points, each at the first place around its point where it covers nothing."""
    spots = {peer: axes.transData.transform(point) for peer, point in found.items()}
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots.values()]
    for peer, (x, y) in spots.items():
        width, height = 7.5 * len(peer), 14
        places = [(10, -height / 2), (-10 - width, -height / 2)]
        places += [
            (side, up)
            for up in (8, -8 - height, 22, -22 - height, 36, -36 - height)
            for side in (-width / 2, 10, -10 - width)
        ]
        for right, up in places:
            box = (x + right, y + up, x + right + width, y + up + height)
            inside = axes.bbox.x0 < box[0] and box[2] < axes.bbox.x1 and axes.bbox.y0 < box[1]
            if inside and not any(overlaps(box, other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            peer,
            found[peer],
            xytext=(right * 0.72, up * 0.72),
            textcoords="offset points",
            va="bottom",
            color=color(peer),
            weight="bold" if peer == OURS else "normal",
        )


def overview(summary):
    rows = summary.data["rows"]
    panels = [("w2a", "drained", "upserts, rows/s, durable and drained"), ("w4", "uniform", "gets/s, uniform")]
    panels = [(points(summary, rows, table, column), label) for table, column, label in panels]
    if not any(found for found, _ in panels):
        return None
    figure, all_axes = plt.subplots(1, 2, figsize=(12, 5))
    for axes, (found, label) in zip(all_axes, panels):
        for peer, (x, y) in found.items():
            axes.scatter(x, y, s=130 if peer == OURS else 60, color=color(peer), zorder=3)
        axes.set(xscale="log", yscale="log", xlabel="Q1 right after upserts, rows/s", ylabel=label)
        axes.margins(x=0.25, y=0.15)
        for axis in (axes.xaxis, axes.yaxis):
            logarithmic(axis, "/s")
    figure.suptitle("Up is faster writes (left) or lookups (right), right is faster scans")
    figure.tight_layout()
    for axes, (found, _) in zip(all_axes, panels):
        label_points(axes, found)
    return figure


def sustained(summary):
    if not summary.batches:
        return None
    figure, axes = plt.subplots(figsize=(9, 5))
    for peer, rates in summary.batches.items():
        window = max(1, len(rates) // 20)
        smooth = [median(rates[max(0, at - window) : at + window + 1]) for at in range(len(rates))]
        numbers = range(1, len(rates) + 1)
        axes.plot(numbers, rates, color=color(peer), alpha=0.2, linewidth=0.8)
        axes.plot(numbers, smooth, color=color(peer), linewidth=2.5 if peer == OURS else 1.5, label=peer)
    rows = summary.data["batch_rows"]
    axes.set(
        yscale="log", xlabel=f"batch of {rows:,} upserts", ylabel="rows/s", title="Durable upserts, batch after batch"
    )
    logarithmic(axes.yaxis, "/s")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def bars(summary, peers, groups, value, unit, title):
    """Bars of each peer in each group, on a logarithmic axis."""
    if not peers:
        return None
    figure, axes = plt.subplots(figsize=(max(8, 1.6 * len(groups) + 0.12 * len(groups) * len(peers)), 4.5))
    width = 0.85 / len(peers)
    for index, peer in enumerate(peers):
        places = [place + (index - (len(peers) - 1) / 2) * width for place in range(len(groups))]
        heights = [value(peer, group) or 0 for group in groups]
        axes.bar(places, heights, width, color=color(peer), label=peer, edgecolor="black" if peer == OURS else "none")
    axes.set(yscale="log", ylabel=unit, title=title)
    logarithmic(axes.yaxis, unit)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def scans(summary):
    labels = {
        "right after the burst": "w3 after_w2a",
        "at rest": "w3 at_rest",
        "after sustained upserts": "w3 after_w2b",
        "after deletes": "w3 after_w7",
    }
    peers = [peer for peer in summary.run["peers"] if any(summary.of(table, "Q1", peer) for table in labels.values())]
    return bars(
        summary,
        peers,
        list(labels),
        lambda peer, group: summary.median(labels[group], "Q1", peer),
        "ms, less is better",
        "TPC-H Q1",
    )


def ycsb(summary):
    peers = [peer for peer in summary.run["peers"] if summary.of("ycsb", "A", peer)]
    title = "YCSB on one thread, writes durable: operations a second"
    return bars(summary, peers, list("ABCDEF"), lambda peer, group: summary.median("ycsb", group, peer), "1/s", title)
