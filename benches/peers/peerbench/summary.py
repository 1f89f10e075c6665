"""The tables of the report: which columns there are, in what unit, and what is better.

`Summary` holds for each table and column the values of each peer, one a repetition; `extract.py` fills it from the
lines of a run.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

MORE, LESS, NEITHER = "more", "less", "neither"
QUERY_NAMES = {"count": "count(*)", "q1": "Q1", "q6": "Q6", "sum": "sum", "length": "max(length)"}


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    better: str = LESS


@dataclass(frozen=True)
class Table:
    key: str
    workload: str
    title: str
    columns: tuple
    # What must be known to read it.
    note: str = ""


SYNC = Column("bare append and fdatasync", "1/s", NEITHER)


def latencies(kind, rate_unit):
    return (Column(f"{kind}", rate_unit, MORE), Column(f"{kind}, p50", "us"), Column(f"{kind}, p99", "us"))


def scans(key, title):
    return Table(key, "W3", title, tuple(Column(name, "ms") for name in QUERY_NAMES.values()))


def memory(key, title):
    columns = (
        Column("RssAnon at open", "MiB", NEITHER),
        Column("peak RssAnon", "MiB"),
        Column("peak RssFile", "MiB", NEITHER),
        Column("VmHWM", "MiB"),
    )
    note = (
        "rustling has a limit for all its memory, RocksDB and SQLite a size of their cache; the others are told of "
        "none. RocksDB's process also holds what adds up its rows for the scans."
    )
    return Table(key, "W8", title, columns, note)


TABLES = [
    Table(
        "w1",
        "W1",
        "Loading CSV",
        (
            Column("in key order", "rows/s", MORE),
            Column("CPU time", "s"),
            Column("shuffled", "rows/s", MORE),
            Column("CPU time, shuffled", "s"),
            Column("on disk", "MiB"),
        ),
    ),
    Table(
        "w2a",
        "W2a",
        "A burst of upserts",
        (
            Column("not drained", "rows/s", MORE),
            Column("drained", "rows/s", MORE),
            Column("worst batch", "s"),
            Column("drain", "s", NEITHER),
            Column("CPU a row, drained", "us"),
            Column("until at rest", "s", NEITHER),
            Column("CPU a row, at rest", "us"),
        ),
        "Drained is what makes the changes part of the store's files, as its settings below say: less than all its "
        "compactions here and with RocksDB, all of them with ClickHouse and Lance. At rest is when nothing goes on any "
        "more, and what `until at rest` says comes on top; here that waits until the database is idle, and five "
        "seconds of it are the wait until that is certain.",
    ),
    Table(
        "w2b",
        "W2b",
        "Sustained upserts",
        (
            Column("second half", "rows/s", MORE),
            Column("all, drained", "rows/s", MORE),
            Column("p99 batch", "s"),
            Column("worst batch", "s"),
            Column("last quarter / third", "", MORE),
            Column("last quarter / first", "", MORE),
        ),
        "Batches are read between the clocks, while background work goes on. Percentiles are of all 200.",
    ),
    scans("w3 after_w2a", "Scans right after the burst"),
    scans("w3 at_rest", "Scans after the burst, drained and at rest"),
    scans("w3cold at_rest", "Cold scans at rest"),
    scans("w3 after_w2b", "Scans after the sustained upserts, drained"),
    scans("w3 after_w7", "Scans after the deletes, drained"),
    Table(
        "w4",
        "W4",
        "Gets of whole rows",
        (
            Column("hot keys", "1/s", MORE),
            Column("uniform", "1/s", MORE),
            Column("many hot in a call", "1/s", MORE),
            Column("many in a call", "1/s", MORE),
            Column("prepared SELECT", "1/s", MORE),
        ),
        "The keys of `many in a call` and of `prepared SELECT` are such as `uniform` asked for before, as far as a "
        "peer came in its time: here their rows are kept, elsewhere their blocks are.",
    ),
    Table(
        "w4 latency",
        "W4",
        "Latency of gets",
        tuple(
            Column(f"{kind}, {percent}", "us") for kind in ("hot", "uniform", "SELECT") for percent in ("p50", "p99")
        ),
    ),
    Table("w5", "W5", "Ranges of 100 orders", (*latencies("all columns", "1/s"), *latencies("three columns", "1/s"))),
    Table(
        "w6",
        "W6",
        "Single rows, each durable",
        (
            *latencies("one writer", "1/s"),
            Column("CPU a row", "us"),
            *latencies("64 writers", "1/s"),
            Column("CPU a row of 64 writers", "us"),
            SYNC,
        ),
        "The bare loop makes its file longer with each append. The log here overwrites zeros that were put there "
        "before, RocksDB's an older log, and a sync has less to do for that: so both can be faster than the loop.",
    ),
    Table(
        "w7",
        "W7",
        "Deletes of a tenth",
        (
            Column("not drained", "keys/s", MORE),
            Column("drained", "keys/s", MORE),
            Column("worst batch", "s"),
        ),
    ),
    memory("w8 w2a", "Memory over the burst and its scans"),
    memory("w8 w2b", "Memory over the sustained upserts and their scans"),
    Table(
        "ycsb",
        "YCSB",
        "YCSB, operations a second on one thread",
        (*(Column(name.upper(), "1/s", MORE) for name in ("load", *"abcdef")), SYNC),
    ),
    Table(
        "ycsb p99",
        "YCSB",
        "YCSB, 99th percentiles",
        tuple(
            Column(name, "us")
            for name in ("A read", "A write", "B read", "C read", "D read", "E scan", "F read", "F write")
        ),
    ),
]


@dataclass
class Summary:
    """All that the report and the plots need."""

    run: dict
    data: dict = field(default_factory=dict)
    tables: list = field(default_factory=list)
    values: dict = field(default_factory=lambda: defaultdict(list))
    # By table and peer: batches that were reached, and that there are, of each repetition that was cut off.
    partial: dict = field(default_factory=dict)
    opened: dict = field(default_factory=dict)
    batches: dict = field(default_factory=dict)
    syncs: list = field(default_factory=list)
    skips: set = field(default_factory=set)
    troubles: list = field(default_factory=list)
    wrong: list = field(default_factory=list)

    def put(self, table, column, peer, value):
        if value is not None:
            self.values[table, column, peer].append(value)

    def of(self, table, column, peer):
        """The values of a cell, sorted."""
        return sorted(self.values.get((table, column, peer), []))

    def median(self, table, column, peer):
        values = self.of(table, column, peer)
        return median(values) if values else None


def scale_of(sequence):
    return float(sequence.partition("-")[2])


def number(value, unit):
    """A figure with three digits that count."""
    if unit.endswith("/s"):
        for size, letter in ((1e6, " M"), (1e3, " k")):
            if value >= size:
                return f"{value / size:.3g}{letter}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.1g}"
