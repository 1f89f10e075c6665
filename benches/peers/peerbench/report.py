"""Writes `RESULTS.md`: machine, versions, settings, a table for each workload, and where peers are better.

In: the lines of a run, `reasons.toml`. Out: `RESULTS.md` and, through `plots.py`, images beside it.
"""

import tomllib

from peerbench import plots
from peerbench.environment import HERE
from peerbench.extract import read
from peerbench.plan import BIG_MEMORY_MIB, OURS, SMALL_MEMORY_MIB
from peerbench.summary import MORE, NEITHER, number


def write(results, out):
    """Writes the report of files of lines into a folder."""
    summary = read(results)
    out.mkdir(parents=True, exist_ok=True)
    images = plots.draw(summary, out)
    sections = [
        head(summary),
        pictures(images),
        losses(summary),
        *tables(summary),
        troubles(summary),
        skipped(summary),
        settings(summary),
    ]
    (out / "RESULTS.md").write_text("\n\n".join(section for section in sections if section) + "\n")


def advantage(summary, table, column, peer):
    """How many times as good we are as a peer; none where one of the two has no figure."""
    ours, theirs = (summary.median(table.key, column.name, who) for who in (OURS, peer))
    if not ours or not theirs or column.better == NEITHER or peer == OURS:
        return None
    return ours / theirs if column.better == MORE else theirs / ours


def times(ratio):
    if ratio >= 100:
        return f"{ratio:,.0f}x"
    return f"{ratio:.3g}x" if 0.9 < ratio < 1.1 else f"{ratio:.2g}x"


def cell(summary, table, column, peer):
    values = summary.of(table.key, column.name, peer)
    if not values:
        return "-"
    text = number(summary.median(table.key, column.name, peer), column.unit)
    least, most = number(values[0], column.unit), number(values[-1], column.unit)
    if least != most:
        text += f" ({least} to {most})"
    ratio = advantage(summary, table, column, peer)
    if ratio is None:
        return text
    return f"{text} **{times(ratio)}**" if ratio < 1 else f"{text} {times(ratio)}"


def head(summary):
    run, data = summary.run, summary.data
    machine = "\n".join(f"| {topic} | {text} |" for topic, text in run["machine"].items())
    sync = sorted(line["p50"] for line in summary.syncs)
    if sync:
        spread = f"{sync[0]:.0f} to {sync[-1]:.0f}" if len(sync) > 1 else f"{sync[0]:.0f}"
        machine += f"\n| append of 200 bytes and fdatasync | p50 {spread} us |"
    wrong = "".join(f"\n- WRONG: {text}" for text in summary.wrong)
    right = "Every answer was compared with the right one, and all were right."
    checked = f"Some answers were wrong:\n{wrong}" if wrong else right
    parts = f", in {run['parts']} parts of some peers each" if run["parts"] > 1 else ""
    dates = " and ".join(dict.fromkeys([run["dates"][0], run["dates"][-1]]))
    revisions = f" rustling is that of {', '.join(run['revisions'])}." if run["revisions"] else ""
    return (
        "# rustling-db beside its peers\n\n"
        f"Written by `benches/peers/run.py` on {dates}{parts}; README.md beside it says what each workload is."
        f"{revisions}\n"
        f"TPC-H scale factor {run['scale']:g}: {data['rows']:,} rows; batches of {data['batch_rows']:,}, "
        f"{data['burst']} in the burst, {data['batches']} sustained. {repeated(run)} "
        f"A loop stops after {run['budget']:g} s, a process after {run['cap']:g} s.\n"
        "Behind a figure: how many times as good rustling is; in bold, below 1, where the peer is better.\n"
        f"{checked}\n\n| | |\n|---|---|\n{machine}"
    )


def repeated(run):
    """How many repetitions there were of which peers."""
    peers_of = {}
    for peer, count in run["repetitions"].items():
        peers_of.setdefault(count, []).append(peer)
    if set(peers_of) == {1}:
        return "One repetition: no spread is known."
    counts = [
        f"{count}" if len(peers_of) == 1 else f"{count} ({', '.join(peers)})" for count, peers in peers_of.items()
    ]
    return f"Medians of {' and '.join(counts)} repetitions, in parentheses the range."


def pictures(images):
    return "\n".join(f"![{title}]({name})" for name, title in images)


def losses(summary):
    """Each row of a table in which a peer beats us, with the reason."""
    reasons = tomllib.loads((HERE / "reasons.toml").read_text())
    rows = []
    for table in summary.tables:
        for peer in summary.run["peers"]:
            lost = [
                f"{column.name} {times(ratio)}{overlap(summary, table, column, peer)}"
                for column in table.columns
                if (ratio := advantage(summary, table, column, peer)) is not None and ratio < 1
            ]
            if lost:
                why = reason(reasons, table, peer)
                rows.append(f"| {table.workload} | {table.title} | {peer} | {'; '.join(lost)} | {why} |")
    if OURS not in summary.run["peers"]:
        return ""
    body = "\n".join(rows) or "| - | - | - | nowhere | - |"
    return (
        "## Where we lose and why\n\n"
        "All figures with a ratio in which a peer is better, and how good rustling is beside it; "
        "`~` where the ranges of the repetitions overlap.\n\n"
        f"| workload | table | peer | figures | why |\n|---|---|---|---|---|\n{body}"
    )


def reason(reasons, table, peer):
    """Of a table, or else of its workload; for the peer, or else for any."""
    sections = [reasons.get(name, {}) for name in (table.key, table.workload)]
    found = [section[name] for section in sections for name in (peer, "any") if name in section]
    return found[0] if found else "not explained yet"


def overlap(summary, table, column, peer):
    ours, theirs = (summary.of(table.key, column.name, who) for who in (OURS, peer))
    return " ~" if min(len(ours), len(theirs)) > 1 and ours[0] <= theirs[-1] and theirs[0] <= ours[-1] else ""


def tables(summary):
    """A section for each workload, of one or more tables."""
    previous = ""
    for table in summary.tables:
        peers = [
            peer
            for peer in summary.run["peers"]
            if any(summary.of(table.key, column.name, peer) for column in table.columns if column.better != NEITHER)
        ]
        if not peers:
            continue
        title = f"## {table.workload}\n\n" if table.workload != previous else ""
        previous = table.workload
        units = [f"{column.name}, {column.unit}" if column.unit else column.name for column in table.columns]
        lines = [f"| {table.title} | {' | '.join(units)} |", "|---|" + "---|" * len(units)]
        for peer in peers:
            cells = (cell(summary, table, column, peer) for column in table.columns)
            lines.append(f"| {row_name(summary, table, peer)} | {' | '.join(cells)} |")
        note = f"\n\n{table.note}" if table.note else ""
        yield title + "\n".join(lines) + note


def row_name(summary, table, peer):
    """A peer, with what must be known to read its row: batches it did not get to, a key that it does not have."""
    notes = []
    if reached := summary.partial.get((table.key, peer)):
        counts = dict.fromkeys(str(end(count for count, _ in reached)) for end in (min, max))
        notes.append(f"{' to '.join(counts)} of {reached[0][1]} batches")
    if table.workload == "W1":
        notes += {
            line["settings"]["key"] for line in summary.opened.get(peer, {}).values() if "key" in line["settings"]
        }
    return f"{peer} ({', '.join(notes)})" if notes else peer


def troubles(summary):
    if not summary.troubles:
        return ""
    columns = ("peer", "repetition", "sequence", "steps", "outcome", "why")
    rows = [f"| {' | '.join(str(line[column]) for column in columns)} |" for line in summary.troubles]
    return (
        "## What did not end\n\nFigures printed before count; what needs the same database is missing.\n\n"
        f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n" + "\n".join(rows)
    )


def skipped(summary):
    reasons = {}
    for step, peer, why in sorted(summary.skips):
        if step not in ("drain", "rest"):
            reasons.setdefault((peer, why), []).append(step)
    if not reasons:
        return ""
    rows = [f"| {peer} | {', '.join(steps)} | {why} |" for (peer, why), steps in sorted(reasons.items())]
    return "## What a peer cannot do\n\n| peer | steps | why |\n|---|---|---|\n" + "\n".join(rows)


def settings(summary):
    """Of each peer its version and settings; those that depend on the memory it was given, for each size."""
    parts = [
        "## Versions and settings\n\n"
        f"{BIG_MEMORY_MIB} MiB, in W4, W5 and YCSB {SMALL_MEMORY_MIB} MiB, is the limit of all memory of rustling, and "
        "the size of the cache of RocksDB and SQLite. The others have no limit but their own defaults."
    ]
    for peer in summary.run["peers"]:
        opened = list(summary.opened.get(peer, {}).values())
        if not opened:
            continue
        topics = [
            f"- {topic}: {'; or '.join(dict.fromkeys(line['settings'][topic] for line in opened))}"
            for topic in opened[0]["settings"]
        ]
        parts.append(f"**{peer}** {opened[0]['version']}\n\n" + "\n".join(topics))
    return "\n\n".join(parts)
