"""Fills a summary from the JSON lines of one run, or of several that each did a part.

In: files of lines. Out: a `Summary`: what each peer's repetition says about each column of the tables.
"""

import json
from collections import Counter, defaultdict

from peerbench.plan import OURS
from peerbench.summary import QUERY_NAMES, SYNC, TABLES, Column, Summary, Table, scale_of


def read(paths):
    """The summary of files of lines. What is said about the run and the machine is that of the first."""
    files = [[json.loads(text) for text in open(path)] for path in paths]
    summary = Summary(run=dict(files[0][0]), data=next(line for line in files[0] if line["kind"] == "data"))
    peers = dict.fromkeys(peer for lines in files for peer in lines[0]["peers"])
    summary.run["peers"] = sorted(peers, key=lambda peer: peer != OURS)
    groups = defaultdict(list)
    for index, lines in enumerate(files):
        for line in lines:
            take(summary, line)
            if "sequence" in line:
                groups[index, line["peer"], line["repetition"]].append(line)
    growth = sorted(
        {line["sequence"] for some in groups.values() for line in some if line["sequence"].startswith("growth")},
        key=scale_of,
    )
    columns = tuple(Column(rows_of(name), "CPU us a row") for name in growth)
    for table in TABLES:
        if table.key == "ycsb" and columns:
            summary.tables.append(Table("w9", "W9", "CPU time of an upserted row, drained", columns))
        summary.tables.append(table)
    for (_, peer, _), some in groups.items():
        repetition(summary, peer, some)
    summary.run["repetitions"] = Counter(peer for (_, peer, _), some in groups.items() if is_whole(some))
    summary.run["parts"] = len(files)
    summary.run["dates"] = sorted({lines[0]["date"] for lines in files})
    summary.run["revisions"] = sorted({lines[0]["revision"] for lines in files if OURS in lines[0]["peers"]})
    return summary


def is_whole(lines):
    """Whether these are lines of a repetition, and not only of growth at some scale."""
    return any(not line["sequence"].startswith("growth") for line in lines)


def take(summary, line):
    """What a line says by itself."""
    kind = line["kind"]
    if kind == "wrong":
        summary.wrong.append(f"{line['peer']}, {line['sequence']}: {line['problem']}")
    if kind == "open":
        summary.opened.setdefault(line["peer"], {}).setdefault(line["memory_mib"], line)
    if kind == "skip":
        summary.skips.add((line["step"], line["peer"], line["why"]))
    if kind == "sync":
        summary.syncs.append(line)
    if kind == "process" and line["outcome"] != "ok":
        summary.troubles.append(line)


def rows_of(sequence):
    return f"{scale_of(sequence) * 6:.3g} M rows"


class Lines:
    """Lines of one sequence, by step and label."""

    def __init__(self, lines):
        self.lines = lines

    def figures(self, step, label=None):
        return [
            line
            for line in self.lines
            if line["kind"] == "figure" and line["step"] == step and label in (None, line["label"])
        ]

    def value(self, step, metric, label=None):
        found = [line["value"] for line in self.figures(step, label) if line["metric"] == metric]
        return found[0] if found else None

    def process_of(self, step):
        for line in self.lines:
            if line["kind"] == "process" and line["steps"].split(",")[0].split("=")[0] == step and "peaks" in line:
                return line
        return None


def repetition(summary, peer, lines):
    by_sequence = {}
    for line in lines:
        by_sequence.setdefault(line["sequence"], []).append(line)
    sequences = {name: Lines(some) for name, some in by_sequence.items()}
    usual = f"growth-{summary.run['scale']:g}"
    for name, some in sequences.items():
        if name == "main":
            loads(summary, peer, some, "load", "in key order", "CPU time")
            main(summary, peer, some)
        if name == "shuffled":
            loads(summary, peer, some, "load_shuffled", "shuffled", "CPU time, shuffled")
        if name == "sustained":
            sustained(summary, peer, some)
            memory(summary, peer, some, "w2b")
            if ("w2b", peer) in summary.partial:
                summary.partial["w8 w2b", peer] = summary.partial["w2b", peer]
        if name.startswith("growth"):
            growth(summary, peer, some, name)
        if name == usual:
            burst(summary, peer, some)
        if name == "ycsb":
            ycsb(summary, peer, some)


def loads(summary, peer, lines, step, rate, cpu):
    for figure in lines.figures(step):
        summary.put("w1", rate, peer, figure["rows"] / figure["value"])
        summary.put("w1", cpu, peer, figure["cpu_s"])
    process = lines.process_of(step)
    if process and step == "load":
        summary.put("w1", "on disk", peer, process["disk_mib"])


def main(summary, peer, lines):
    for step, label in (("w3", "after_w2a"), ("w3", "at_rest"), ("w3cold", "at_rest"), ("w3", "after_w7")):
        scans(summary, peer, lines, step, label)
    memory(summary, peer, lines, "w2a")
    reads(summary, peer, lines)
    singles(summary, peer, lines)
    deletes(summary, peer, lines)


def reads(summary, peer, lines):
    for step, kind in (
        ("w4a", "hot keys"),
        ("w4b", "uniform"),
        ("w4c_hot", "many hot in a call"),
        ("w4c", "many in a call"),
        ("w4d", "prepared SELECT"),
    ):
        summary.put("w4", kind, peer, lines.value(step, "rate"))
    for step, kind in (("w4a", "hot"), ("w4b", "uniform"), ("w4d", "SELECT")):
        for percent in ("p50", "p99"):
            summary.put("w4 latency", f"{kind}, {percent}", peer, lines.value(step, percent))
    rate_and_latency(summary, "w5", "all columns", peer, lines, "w5")
    rate_and_latency(summary, "w5", "three columns", peer, lines, "w5c")


def rate_and_latency(summary, table, kind, peer, lines, step):
    summary.put(table, kind, peer, lines.value(step, "rate"))
    for percent in ("p50", "p99"):
        summary.put(table, f"{kind}, {percent}", peer, lines.value(step, percent))


def singles(summary, peer, lines):
    rate_and_latency(summary, "w6", "one writer", peer, lines, "w6")
    rate_and_latency(summary, "w6", "64 writers", peer, lines, "w6x64")
    for column, step in (("CPU a row", "w6"), ("CPU a row of 64 writers", "w6x64")):
        for figure in lines.figures(step):
            if "cpu_s" in figure:
                summary.put("w6", column, peer, figure["cpu_s"] * 1e6 / figure["ops"])
    syncs(summary, "w6", peer, lines)


def syncs(summary, table, peer, lines):
    for line in lines.lines:
        if line["kind"] == "sync":
            summary.put(table, SYNC.name, peer, line["rate"])


def scans(summary, peer, lines, step, label):
    for figure in lines.figures(step, label):
        summary.put(f"{step} {label}", QUERY_NAMES[figure["metric"]], peer, figure["value"])


def memory(summary, peer, lines, step):
    process, upserts = lines.process_of(step), lines.figures(step)
    if not process or not upserts:
        return
    table = f"w8 {step}"
    summary.put(table, "RssAnon at open", peer, process["opened"].get("RssAnon"))
    for column, name in (("peak RssAnon", "RssAnon"), ("peak RssFile", "RssFile"), ("VmHWM", "VmHWM")):
        summary.put(table, column, peer, process["peaks"].get(name))


def after_drain(lines, process_step, seconds):
    """Seconds with the drain that follows a step in its process; none if that was not reached."""
    process = lines.process_of(process_step)
    drains = [
        line
        for line in lines.lines
        if line["kind"] in ("figure", "skip")
        and line["step"] == "drain"
        and process
        and line["steps"] == process["steps"]
    ]
    return seconds + drains[0].get("value", 0) if drains else None


def rate(batches):
    return sum(batch["rows"] for batch in batches) / sum(batch["value"] for batch in batches)


def drained_rate(lines, step, batches):
    seconds = after_drain(lines, step, sum(batch["value"] for batch in batches))
    return sum(batch["rows"] for batch in batches) / seconds if seconds else None


def note_partial(summary, table, peer, batches, count):
    if len(batches) < count:
        summary.partial.setdefault((table, peer), []).append((len(batches), count))


def cpu_of(lines, *steps):
    """Processor time of steps, in microseconds for each row that they upserted."""
    figures = [figure for step in steps for figure in lines.figures(step)]
    return sum(figure["cpu_s"] for figure in figures) * 1e6 / sum(figure.get("rows", 0) for figure in figures)


def burst(summary, peer, lines):
    batches = lines.figures("w2a")
    if batches:
        summary.put("w2a", "not drained", peer, rate(batches))
        summary.put("w2a", "drained", peer, drained_rate(lines, "w2a", batches))
        summary.put("w2a", "worst batch", peer, max(batch["value"] for batch in batches))
        summary.put("w2a", "drain", peer, lines.value("drain", "seconds"))
        cpu = cpu_of(lines, "w2a", "drain")
        summary.put("w2a", "CPU a row, drained", peer, cpu)
        if any(line["step"] == "rest" for line in lines.lines if line["kind"] in ("figure", "skip")):
            summary.put("w2a", "CPU a row, at rest", peer, cpu_of(lines, "w2a", "drain", "rest"))
            summary.put("w2a", "until at rest", peer, lines.value("rest", "seconds"))
        note_partial(summary, "w2a", peer, batches, summary.data["burst"])


def sustained(summary, peer, lines):
    batches = lines.figures("w2b")
    scans(summary, peer, lines, "w3", "after_w2b")
    if not batches:
        return
    count = summary.data["batches"]
    summary.batches.setdefault(peer, [rate([batch]) for batch in batches])
    note_partial(summary, "w2b", peer, batches, count)
    half, quarter = count // 2, count // 4
    # Where the second half was not reached, what there is stands for it; row names say so.
    summary.put("w2b", "second half", peer, rate(batches[half:] or batches))
    if len(batches) < count:
        return
    seconds = sorted(batch["value"] for batch in batches)
    summary.put("w2b", "all, drained", peer, drained_rate(lines, "w2b", batches))
    summary.put("w2b", "p99 batch", peer, seconds[len(seconds) * 99 // 100])
    summary.put("w2b", "worst batch", peer, seconds[-1])
    last, third, first = rate(batches[-quarter:]), rate(batches[half : half + quarter]), rate(batches[:quarter])
    summary.put("w2b", "last quarter / third", peer, last / third)
    summary.put("w2b", "last quarter / first", peer, last / first)


def deletes(summary, peer, lines):
    batches = lines.figures("w7")
    if batches:
        summary.put("w7", "not drained", peer, rate(batches))
        summary.put("w7", "drained", peer, drained_rate(lines, "w7", batches))
        summary.put("w7", "worst batch", peer, max(batch["value"] for batch in batches))


def growth(summary, peer, lines, name):
    if lines.figures("w2a"):
        summary.put("w9", rows_of(name), peer, cpu_of(lines, "w2a", "drain"))


def ycsb(summary, peer, lines):
    syncs(summary, "ycsb", peer, lines)
    for figure in lines.figures("ycsb_load"):
        summary.put("ycsb", "LOAD", peer, figure["rows"] / figure["value"])
    for name in "abcdef":
        step = f"ycsb_{name}"
        summary.put("ycsb", name.upper(), peer, lines.value(step, "rate"))
        for kind in ("read", "write", "scan"):
            summary.put("ycsb p99", f"{name.upper()} {kind}", peer, lines.value(step, f"{kind}_p99"))
