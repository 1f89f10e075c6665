"""How much is done, and in which processes: sizes of the data, and the sequences of steps of README.md.

Out: `Sizes` for a scale, and for a peer the list of (sequence, [Process, ...]).
"""

from dataclasses import asdict, dataclass

OURS = "rustling"
BIG_MEMORY_MIB = 1024
SMALL_MEMORY_MIB = 256
# What a peer that failed in one of these leaves behind is of no use to the steps that follow.
CHANGING = {"load", "load_shuffled", "w2a", "w2b", "w7", "ycsb_load"}


@dataclass(frozen=True)
class Sizes:
    """Counts of rows and operations; what `meta.json` says."""

    scale: float
    batch_rows: int = 50_000
    burst: int = 20
    batches: int = 200
    hot_warm: int = 20_000
    hot_gets: int = 100_000
    uniform_warm: int = 10_000
    uniform_gets: int = 50_000
    many: int = 10_000
    # Calls with so many keys each: with others each time, and with the same ones.
    many_calls: int = 3
    many_hot_calls: int = 5
    sql_warm: int = 1_000
    sql_gets: int = 10_000
    ranges: int = 1_000
    range_orders: int = 100
    single_one: int = 5_000
    single_many: int = 20_000
    ycsb_records: int = 1_000_000
    ycsb_operations: int = 200_000

    def meta(self, rows):
        return {**asdict(self), "rows": rows}


def quick_sizes(scale):
    return Sizes(
        scale=scale,
        batch_rows=5_000,
        burst=10,
        batches=24,
        hot_warm=1_000,
        hot_gets=10_000,
        uniform_warm=1_000,
        uniform_gets=5_000,
        many=1_000,
        sql_warm=100,
        sql_gets=1_000,
        ranges=200,
        single_one=300,
        single_many=1_000,
        ycsb_records=20_000,
        ycsb_operations=5_000,
    )


@dataclass(frozen=True)
class Process:
    """One run of a driver: the workloads that it is part of, its steps, its memory."""

    workloads: tuple
    steps: str
    memory_mib: int = BIG_MEMORY_MIB

    def changes(self):
        return any(step.split("=")[0] in CHANGING for step in self.steps.split(","))


MAIN = [
    Process(("W1",), "load,check=loaded"),
    Process(("W2a", "W3", "W8"), "w2a,w3=after_w2a,drain,rest,w3=at_rest"),
    Process(("W3",), "w3cold=at_rest"),
    Process(("W4",), "w4a,w4c_hot,w4b,w4c,w4d", SMALL_MEMORY_MIB),
    Process(("W5",), "w5,w5c", SMALL_MEMORY_MIB),
    Process(("W6",), "w6,w6x64"),
    Process(("W7",), "w7,drain,w3=after_w7"),
]
SUSTAINED = [Process((), "load"), Process(("W2b", "W3", "W8"), "w2b,drain,w3=after_w2b")]
SHUFFLED = [Process(("W1",), "load_shuffled,check=loaded")]
GROWTH = [Process((), "load"), Process(("W2a", "W9"), "w2a,drain,rest,check=after_w2a")]
YCSB = [Process(("YCSB",), "ycsb_load," + ",".join(f"ycsb_{name}" for name in "abcdef"), SMALL_MEMORY_MIB)]


def needed(processes, workloads):
    """The processes of a sequence that the workloads want, with the changes that must go before them."""
    wanted = [index for index, process in enumerate(processes) if set(process.workloads) & workloads]
    last = max(wanted, default=-1)
    return [process for index, process in enumerate(processes[: last + 1]) if index in wanted or process.changes()]


def sequences(workloads, kinds, growth_scales):
    """The sequences for a peer that does `kinds` of work: name, processes, scale of the data (None: the usual)."""
    planned = [("main", MAIN, None), ("sustained", SUSTAINED, None), ("shuffled", SHUFFLED, None)]
    if "upsert" in kinds:
        planned += [(f"growth-{scale:g}", GROWTH, scale) for scale in growth_scales]
    if "ycsb" in kinds:
        planned.append(("ycsb", YCSB, None))
    chosen = [(name, needed(processes, workloads), scale) for name, processes, scale in planned]
    return [(name, processes, scale) for name, processes, scale in chosen if processes]
