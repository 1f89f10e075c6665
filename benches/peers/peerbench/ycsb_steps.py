"""The YCSB steps, for any peer that has the five operations.

In: a `Run` of `driver.py`. Out: figures and digests, as README.md says.
"""

from time import perf_counter, perf_counter_ns

from peerbench.arrow_files import read_arrow
from peerbench.steps import Clock, cpu_seconds, print_percentiles
from peerbench.ycsb import FIELD_BYTES

KIND = {"read": "read", "scan": "scan", "update": "write", "insert": "write", "rmw": "write"}


def byte_total(record):
    """The sum of the bytes of texts, however nested."""
    if isinstance(record, str):
        return sum(record.encode())
    if isinstance(record, bytes):
        return sum(record)
    return sum(byte_total(part) for part in record)


def load(run):
    paths = sorted((run.data / "ycsb" / "load").iterdir())
    tables = [read_arrow(path) for path in paths]
    with Clock() as clock:
        run.store.ycsb_load(tables)
    run.figure("seconds", clock.seconds, "s", rows=run.meta["ycsb_records"], cpu_s=clock.cpu)


def perform(store, op, key, count, field, value):
    """Does one operation. Returns the records that it read."""
    if op == "read":
        return [store.ycsb_read(key)]
    if op == "scan":
        return store.ycsb_scan(key, count)
    if op == "insert":
        store.ycsb_insert(key, value)
        return []
    found = [store.ycsb_read(key)] if op == "rmw" else []
    store.ycsb_update(key, field, value)
    return found


def parts(op, value):
    """The ten fields of an insert, the value of an update."""
    if op != "insert":
        return value
    return [value[start : start + FIELD_BYTES] for start in range(0, len(value), FIELD_BYTES)]


def workload(run):
    table = read_arrow(run.data / "ycsb" / f"{run.step[-1]}.arrow")
    operations = list(zip(*(column.to_pylist() for column in table.columns)))
    operations = [(op, key, count, field, parts(op, value)) for op, key, count, field, value in operations]
    latencies = {"read": [], "write": [], "scan": []}
    records = total = 0
    cpu = 0.0
    until = perf_counter() + run.budget
    for operation in operations:
        if perf_counter() >= until:
            break
        before, started = cpu_seconds(), perf_counter_ns()
        found = perform(run.store, *operation)
        latencies[KIND[operation[0]]].append(perf_counter_ns() - started)
        cpu += cpu_seconds() - before
        records += len(found)
        total += sum(byte_total(record) for record in found)
    done = sum(latencies.values(), [])
    run.figure("rate", len(done) * 1e9 / sum(done), "1/s", ops=len(done), cpu_s=cpu)
    for kind, some in latencies.items():
        if some:
            print_percentiles(run, sorted(some), f"{kind}_")
    run.emit("answer", ops=len(done), digest=[records, total])


STEPS = {"ycsb_load": load, **{f"ycsb_{name}": workload for name in "abcdef"}}
