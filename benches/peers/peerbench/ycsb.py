"""YCSB A to F: records, operations in the standard mixes, and what reading them must give.

`make` writes the files of README.md. `Model` replays how much of each workload a driver did, on sums of bytes.
"""

from bisect import bisect_left, insort

import numpy as np
import pyarrow as pa

from peerbench.arrow_files import read_arrow, write_arrow
from peerbench.lineitem import byte_sums

FIELDS, FIELD_BYTES, ZIPF, LONGEST_SCAN, FILE_RECORDS = 10, 100, 0.99, 100, 10_000
ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
# Shares of operations, and which records are chosen.
MIXES = {
    "a": ({"read": 0.5, "update": 0.5}, "zipfian"),
    "b": ({"read": 0.95, "update": 0.05}, "zipfian"),
    "c": ({"read": 1.0}, "zipfian"),
    "d": ({"read": 0.95, "insert": 0.05}, "latest"),
    "e": ({"scan": 0.95, "insert": 0.05}, "zipfian"),
    "f": ({"read": 0.5, "rmw": 0.5}, "zipfian"),
}
VALUE_BYTES = {"update": FIELD_BYTES, "rmw": FIELD_BYTES, "insert": FIELDS * FIELD_BYTES}


def texts(random, count, size):
    """Random texts of one size."""
    letters = ALPHABET[random.integers(64, size=count * size, dtype=np.uint8)]
    offsets = np.arange(count + 1, dtype=np.int32) * size
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(letters))


def make(folder, records, operations, random):
    """Writes records and operations. Keys are random numbers, so that order of insertion is not order of keys."""
    most = records + 2 * operations
    numbers = np.unique(random.integers(2**62, size=most + most // 100 + 1000))
    numbers = random.permutation(numbers)[:most]
    keys = np.sort(numbers[:records])
    for number, start in enumerate(range(0, records, FILE_RECORDS), 1):
        names = [f"user{key:020}" for key in keys[start : start + FILE_RECORDS]]
        fields = {f"field{field}": texts(random, len(names), FIELD_BYTES) for field in range(FIELDS)}
        write_arrow(folder / "load" / f"{number:04}.arrow", pa.table({"key": names, **fields}))
    known = list(random.permutation(keys))
    fresh = iter(numbers[records:])
    for name, (mix, chosen) in MIXES.items():
        write_arrow(folder / f"{name}.arrow", workload(mix, chosen, operations, records, known, fresh, random))


def workload(mix, chosen, operations, records, known, fresh, random):
    """The operations of one workload. `known` has all keys in the order in which they came; inserts extend it."""
    ops = random.choice(list(mix), operations, p=list(mix.values()))
    weights = np.cumsum(1.0 / np.arange(1, records + 1) ** ZIPF)
    ranks = np.searchsorted(weights, random.random(operations) * weights[-1])
    keys = []
    for op, rank in zip(ops, ranks):
        if op == "insert":
            keys.append(next(fresh))
            known.append(keys[-1])
        else:
            keys.append(known[-1 - rank] if chosen == "latest" else known[rank])
    values = [None] * operations
    for op, size in VALUE_BYTES.items():
        places = np.flatnonzero(ops == op)
        for place, value in zip(places, texts(random, len(places), size).to_pylist()):
            values[place] = value
    return pa.table(
        {
            "op": pa.array(ops.tolist()),
            "key": [f"user{key:020}" for key in keys],
            "count": pa.array(random.integers(1, LONGEST_SCAN + 1, size=operations).astype(np.int32)),
            "field": pa.array(random.integers(FIELDS, size=operations).astype(np.int32)),
            "value": pa.array(values, pa.string()),
        }
    )


class Model:
    """Right digests for the numbers of operations that a driver did, workload after workload."""

    def __init__(self, folder):
        self.folder = folder
        self.known = {}

    def digests(self, done):
        """By workload: [records, bytes]. `done` maps names of workloads, in order, to numbers of operations."""
        asked = tuple(done.items())
        if asked not in self.known:
            self.known[asked] = self.replay(done)
        return self.known[asked]

    def load(self):
        """The place of each key, the sums of the bytes of its fields by place, and the keys in order."""
        places, sums = {}, []
        for path in sorted((self.folder / "load").iterdir()):
            table = read_arrow(path)
            sums.append(np.stack([byte_sums(table.column(f"field{field}")) for field in range(FIELDS)], axis=1))
            for key in table.column("key").to_pylist():
                places[key] = len(places)
        return places, np.concatenate(sums), sorted(places)

    def replay(self, done):
        places, sums, keys = self.load()
        totals, changed, digests = sums.sum(axis=1).tolist(), {}, {}
        for name, operations in done.items():
            table = read_arrow(self.folder / f"{name}.arrow").slice(0, operations)
            count, total = 0, 0
            for op, key, most, field, value in zip(*(column.to_pylist() for column in table.columns)):
                if op in ("read", "rmw"):
                    count, total = count + 1, total + totals[places[key]]
                if op in ("update", "rmw"):
                    place, bytes_now = places[key], sum(value.encode())
                    # Inserted records are never updated: `sums` knows all that are.
                    totals[place] += bytes_now - changed.get((place, field), int(sums[place, field]))
                    changed[place, field] = bytes_now
                if op == "insert":
                    places[key] = len(totals)
                    totals.append(sum(value.encode()))
                    insort(keys, key)
                if op == "scan":
                    start = bisect_left(keys, key)
                    found = keys[start : start + most]
                    count, total = count + len(found), total + sum(totals[places[key]] for key in found)
            digests[name] = [count, total]
        return digests
