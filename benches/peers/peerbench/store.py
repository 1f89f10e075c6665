"""What a peer implements. The workloads in `steps.py` are written once, against this.

Keys are prepared once outside the clock, in whatever form the peer takes them; so are rows of upserts and deletes.
What a read gives is kept as it is and turned into an Arrow table outside the clock, for the digest.
"""

import os
from pathlib import Path

import pyarrow as pa

from peerbench.lineitem import KEY, QUERIES, SCHEMA

CORES = os.cpu_count()


class Unsupported(Exception):
    """The peer cannot do this; the text says why."""


class Store:
    """One peer over one folder. `kinds`: `upsert` if it changes rows by key, `ycsb` if it runs YCSB."""

    kinds = ("upsert",)

    def __init__(self, folder, memory_mib):
        self.folder, self.memory_mib = Path(folder), memory_mib
        self.folder.mkdir(parents=True, exist_ok=True)

    def version(self):
        raise NotImplementedError

    def settings(self):
        """Free text by topic, for the report."""
        raise NotImplementedError

    def open(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError

    # Changes of lineitem. Each is durable when it returns.

    def load(self, csv):
        raise NotImplementedError

    def prepare(self, table):
        return table

    def upsert(self, prepared):
        raise Unsupported("no upserts")

    def rewrite(self, parquet):
        """For files without upserts: takes over the rows that the table should have now. Not timed."""
        raise Unsupported("not needed")

    def prepare_deletes(self, table):
        return table

    def delete(self, prepared):
        raise Unsupported("no deletes")

    def prepare_singles(self, table):
        """The rows of a table, one by one, as `writer` takes them."""
        raise Unsupported("no upserts of single rows")

    def writer(self, threads):
        """A function for one of so many threads that upserts one row, and one that ends it."""
        raise Unsupported("no upserts of single rows")

    def drain(self):
        """Does what the writes deferred."""
        raise Unsupported("nothing is deferred")

    def rest(self):
        """Waits for background work."""
        raise Unsupported("no background work")

    # Reads of lineitem.

    def scan(self, name):
        """The rows of one of the five queries."""
        return self.query(QUERIES[name])

    def query(self, sql):
        raise NotImplementedError

    def prepare_keys(self, table):
        return list(zip(*(table.column(name).to_pylist() for name in KEY)))

    def get(self, key):
        raise NotImplementedError

    def sql_get(self, key):
        raise Unsupported("no prepared statements")

    def prepare_many(self, table):
        return table

    def get_many(self, prepared):
        raise Unsupported("no multi-get")

    def range(self, first, last, names):
        raise NotImplementedError

    def table(self, results, names):
        """The rows of many results of `get`, `get_many` or `range`: those columns of lineitem that were asked for."""
        return pa.concat_tables(results)

    # YCSB. A record is ten fields, given back in any nesting of text and bytes.

    def ycsb_load(self, tables):
        raise Unsupported("no YCSB")

    def ycsb_read(self, key):
        raise NotImplementedError

    def ycsb_update(self, key, field, value):
        raise NotImplementedError

    def ycsb_insert(self, key, fields):
        raise NotImplementedError

    def ycsb_scan(self, key, count):
        raise NotImplementedError


def table_of_tuples(rows, names):
    """Rows as tuples of Python values, as an Arrow table."""
    columns = zip(*rows) if rows else [[] for _ in names]
    return pa.table({name: pa.array(column, SCHEMA.field(name).type) for name, column in zip(names, columns)})


def files(folder):
    return [Path(at) / name for at, _, names in os.walk(folder) for name in names]


class Syncer:
    """Makes new files durable, for peers that never sync: every file that was not seen before, and its folder."""

    def __init__(self, folder):
        self.folder, self.seen = folder, set()

    def sync(self):
        fresh = {(path, path.stat().st_size) for path in files(self.folder)} - self.seen
        for place in {path for path, _ in fresh} | {path.parent for path, _ in fresh} | {self.folder}:
            descriptor = os.open(place, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        self.seen |= fresh
