"""The steps over lineitem, for any peer: what is timed, and what is printed.

In: a `Run` of `driver.py`. Out: figures and answers, as the table in README.md says.
"""

import os
import resource
import threading
from time import perf_counter, perf_counter_ns

from peerbench.arrow_files import read_arrow
from peerbench.lineitem import FEW, KEY, NAMES, QUERIES, digest, plain_answer
from peerbench.store import Unsupported, files

WARM_RUNS = 5
# How many budgets warming up may take: less than all of it would leave the cold part to be measured.
WARM_BUDGETS = 4
WRITERS = 64


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Clock:
    """Wall and processor time of a block."""

    def __enter__(self):
        self.cpu, self.started = cpu_seconds(), perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = perf_counter() - self.started
        self.cpu = cpu_seconds() - self.cpu


def loop(items, operation, budget):
    """Runs an operation for each item until the budget is spent. Returns latencies in nanoseconds, and results."""
    latencies, results = [], []
    until = perf_counter() + budget
    for item in items:
        if perf_counter() >= until:
            break
        started = perf_counter_ns()
        result = operation(item)
        latencies.append(perf_counter_ns() - started)
        results.append(result)
    return latencies, results


def print_latencies(run, latencies, prefix="", **more):
    if not latencies:
        raise Unsupported("not one operation within the budget")
    ordered = sorted(latencies)
    run.figure(f"{prefix}rate", len(ordered) * 1e9 / sum(ordered), "1/s", ops=len(ordered), **more)
    print_percentiles(run, ordered, prefix)


def print_percentiles(run, ordered, prefix=""):
    for percent in (50, 99):
        value = ordered[len(ordered) * percent // 100] / 1e3
        run.figure(f"{prefix}p{percent}", value, "us", ops=len(ordered))


def print_digest(run, results, ops, names=NAMES):
    run.emit("answer", ops=ops, digest=digest(run.store.table(results, names)))


def load(run):
    name = {"load": "lineitem", "load_shuffled": "lineitem_shuffled"}[run.step]
    with Clock() as clock:
        run.store.load(run.data / f"{name}.csv")
    run.figure("seconds", clock.seconds, "s", rows=run.meta["rows"], cpu_s=clock.cpu)


def check(run):
    for name in QUERIES:
        run.emit("answer", query=name, answer=plain_answer(run.store.scan(name)))


def batches(run, folder, count, prepare, apply):
    for number in range(1, count + 1):
        table = read_arrow(run.data / folder / f"{number:04}.arrow")
        prepared = prepare(table)
        with Clock() as clock:
            apply(prepared)
        run.figure("seconds", clock.seconds, "s", n=number, rows=table.num_rows, cpu_s=clock.cpu)


def upserts(run):
    try:
        count = run.meta[{"w2a": "burst", "w2b": "batches"}[run.step]]
        batches(run, "upserts", count, run.store.prepare, run.store.upsert)
    except Unsupported:
        rewrite(run, f"after_{run.step}")


def deletes(run):
    try:
        count = len(list((run.data / "deletes").iterdir()))
        batches(run, "deletes", count, run.store.prepare_deletes, run.store.delete)
    except Unsupported:
        rewrite(run, "after_w7")


def rewrite(run, state):
    run.store.rewrite(run.data / "states" / f"{state}.parquet")
    raise Unsupported("no changes by key; its file is written anew, not timed")


def drain(run):
    with Clock() as clock:
        run.store.drain()
    run.figure("seconds", clock.seconds, "s", cpu_s=clock.cpu)


def rest(run):
    with Clock() as clock:
        run.store.rest()
    run.figure("seconds", clock.seconds, "s", cpu_s=clock.cpu)


def scans(run):
    for name in QUERIES:
        run.store.scan(name)
        until = perf_counter() + run.budget
        times = []
        with Clock() as clock:
            while len(times) < WARM_RUNS and (not times or perf_counter() < until):
                started = perf_counter()
                rows = run.store.scan(name)
                times.append(perf_counter() - started)
        run.figure(name, sorted(times)[len(times) // 2] * 1e3, "ms", cpu_s=clock.cpu / len(times))
        run.emit("answer", query=name, answer=plain_answer(rows))


def drop_from_page_cache(folder):
    os.sync()
    for path in files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def cold_scans(run):
    for name in QUERIES:
        run.store.close()
        drop_from_page_cache(run.store.folder)
        run.store.open()
        with Clock() as clock:
            rows = run.store.scan(name)
        run.figure(name, clock.seconds * 1e3, "ms", cpu_s=clock.cpu)
        run.emit("answer", query=name, answer=plain_answer(rows))


def gets(run, name, warm, count, operation):
    keys = run.store.prepare_keys(read_arrow(run.data / name).slice(0, warm + count))
    loop(keys[:warm], operation, WARM_BUDGETS * run.budget)
    latencies, results = loop(keys[warm:], operation, run.budget)
    print_latencies(run, latencies)
    print_digest(run, results, len(latencies))


def gets_hot(run):
    gets(run, "gets_hot.arrow", run.meta["hot_warm"], run.meta["hot_gets"], run.store.get)


def gets_uniform(run):
    gets(run, "gets_uniform.arrow", run.meta["uniform_warm"], run.meta["uniform_gets"], run.store.get)


def gets_sql(run):
    gets(run, "gets_uniform.arrow", run.meta["sql_warm"], run.meta["sql_gets"], run.store.sql_get)


def gets_many(run):
    many = run.meta["many"]
    keys = read_arrow(run.data / "gets_uniform.arrow")
    starts = range(0, run.meta["many_calls"] * many, many)
    many_calls(run, [run.store.prepare_many(keys.slice(start, many)) for start in starts])


def gets_many_hot(run):
    keys = run.store.prepare_many(read_arrow(run.data / "gets_hot.arrow").slice(0, run.meta["many"]))
    run.store.get_many(keys)
    many_calls(run, [keys] * run.meta["many_hot_calls"])


def many_calls(run, calls):
    latencies, results = loop(calls, run.store.get_many, run.budget)
    ops = len(latencies) * run.meta["many"]
    run.figure("rate", ops * 1e9 / sum(latencies), "1/s", ops=ops)
    print_digest(run, results, ops)


def ranges(run):
    names = {"w5": NAMES, "w5c": FEW}[run.step]
    ends = read_arrow(run.data / "ranges.arrow")
    ends = list(zip(ends.column("first").to_pylist(), ends.column("last").to_pylist()))
    latencies, results = loop(ends, lambda pair: run.store.range(*pair, names), run.budget)
    print_latencies(run, latencies)
    print_digest(run, results, len(latencies), names)


def singles(run):
    one, threads = run.meta["single_one"], {"w6": 1, "w6x64": WRITERS}[run.step]
    rows = read_arrow(run.data / "singles.arrow")
    rows = rows.slice(0, one) if threads == 1 else rows.slice(one)
    prepared = run.store.prepare_singles(rows)
    with Clock() as clock:
        latencies = write_singles(run, prepared, threads)
    ordered = sorted(latencies)
    run.figure("rate", len(ordered) / clock.seconds, "1/s", ops=len(ordered), cpu_s=clock.cpu)
    print_percentiles(run, ordered)
    keys = rows.slice(0, len(ordered)).select(KEY)
    print_digest(run, [run.store.get(key) for key in run.store.prepare_keys(keys)], len(ordered))


def write_singles(run, prepared, threads):
    """Threads take one row after the other from one iterator. Returns latencies in nanoseconds."""
    writers = [run.store.writer(threads) for _ in range(threads)]
    shared, lock, latencies, failures = iter(prepared), threading.Lock(), [], []

    def take():
        with lock:
            return next(shared, None)

    def work(write, end):
        until = perf_counter() + run.budget
        try:
            while perf_counter() < until and (row := take()) is not None:
                started = perf_counter_ns()
                write(row)
                latencies.append(perf_counter_ns() - started)
            end()
        except Exception as failure:
            failures.append(failure)

    workers = [threading.Thread(target=work, args=writer) for writer in writers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return latencies


STEPS = {
    "load": load,
    "load_shuffled": load,
    "check": check,
    "w2a": upserts,
    "w2b": upserts,
    "drain": drain,
    "rest": rest,
    "w3": scans,
    "w3cold": cold_scans,
    "w4a": gets_hot,
    "w4b": gets_uniform,
    "w4c": gets_many,
    "w4c_hot": gets_many_hot,
    "w4d": gets_sql,
    "w5": ranges,
    "w5c": ranges,
    "w6": singles,
    "w6x64": singles,
    "w7": deletes,
}
