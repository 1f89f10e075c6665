"""Makes the data folder that README.md describes, once; the same seed gives the same files.

In: `Sizes`. Out: CSV files, Arrow files, `meta.json`; the states and answers come from `oracle.py`.
"""

import json
import random
import shutil
import subprocess
import sysconfig
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from peerbench import oracle, ycsb
from peerbench.arrow_files import write_arrow
from peerbench.lineitem import COLUMNS, KEY, KEY_SCHEMA, NAMES, SCHEMA, SQL_TYPES

SEED = 20_260_101
BURST_ONLY = ("upserts",)
EVERYTHING = ("upserts", "shuffled", "reads", "changes", "ycsb")


def make(folder, sizes, parts, log):
    """Makes what is missing of a data folder; a folder that has `meta.json` is complete for its parts."""
    made = folder / "meta.json"
    if made.exists():
        meta = json.loads(made.read_text())
        differing = [name for name, value in sizes.meta(meta["rows"]).items() if meta.get(name) != value]
        if differing:
            raise SystemExit(
                f"{folder} was made with other sizes ({', '.join(differing)}); remove it or choose another"
            )
        return meta
    log(f"making the data in {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    generate_csv(folder, sizes.scale)
    if "shuffled" in parts:
        shuffle(folder)
    connection = duckdb.connect(str(folder / "oracle.duckdb"))
    connection.sql("SET enable_progress_bar = false")
    columns = {name: SQL_TYPES[kind] for name, kind in COLUMNS}
    connection.execute(
        f"CREATE TABLE base AS FROM read_csv('{folder}/lineitem.csv', header = true, columns = {columns})"
    )
    Maker(folder, sizes, connection).make(parts)
    if "ycsb" in parts:
        ycsb.make(folder / "ycsb", sizes.ycsb_records, sizes.ycsb_operations, np.random.default_rng(SEED + 1))
    oracle.make(folder, sizes, connection, parts, log)
    meta = sizes.meta(connection.execute("SELECT count(*) FROM base").fetchone()[0])
    connection.close()
    (folder / "oracle.duckdb").unlink()
    made.write_text(json.dumps(meta, indent=1) + "\n")
    return meta


def generate_csv(folder, scale):
    program = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    subprocess.run([program, "csv", "-q", "-s", str(scale), "-T", "lineitem", "-o", folder], check=True)


def shuffle(folder):
    with open(folder / "lineitem.csv", "rb") as file:
        header, *lines = file.readlines()
    random.Random(SEED).shuffle(lines)
    with open(folder / "lineitem_shuffled.csv", "wb") as file:
        file.write(header)
        file.writelines(lines)


class Maker:
    """Draws keys and rows. Keys are kept as two arrays, those of the table first, then new ones."""

    def __init__(self, folder, sizes, connection):
        self.folder, self.sizes = folder, sizes
        self.random = np.random.default_rng(SEED)
        keys = connection.execute(f"SELECT {', '.join(KEY)} FROM base").fetchnumpy()
        self.orders, self.lines = keys["l_orderkey"], keys["l_linenumber"]
        wanted = max(1, len(self.orders) // (4 * sizes.batch_rows))
        self.rows = connection.sql(f"SELECT * FROM base WHERE l_orderkey % {wanted} = 0 ORDER BY ALL").to_arrow_table()

    def make(self, parts):
        burst = self.upserts(len(parts) > 1)
        if "reads" in parts:
            self.reads(burst)
        if "changes" in parts:
            self.changes(burst)

    def with_keys(self, orders, lines):
        """Rows of the table, evenly drawn, under other keys."""
        table = self.rows.take(self.random.integers(self.rows.num_rows, size=len(orders)))
        table = table.set_column(0, "l_orderkey", pa.array(orders)).set_column(3, "l_linenumber", pa.array(lines))
        return table.select(NAMES).cast(SCHEMA)

    def upserts(self, all_batches):
        """Writes the batches. Returns how many keys there are after the burst."""
        rows, base = self.sizes.batch_rows, len(self.orders)
        fresh = rows // 10
        count = self.sizes.batches if all_batches else self.sizes.burst
        following = self.orders.max() + 1 + np.arange(count * fresh)
        self.orders = np.concatenate([self.orders, following])
        self.lines = np.concatenate([self.lines, np.ones(len(following), np.int32)])
        for number in range(1, count + 1):
            known = base + (number - 1) * fresh
            picked = np.empty(rows, np.int64)
            is_new = np.arange(rows) % 10 == 9
            picked[is_new] = known + np.arange(fresh)
            picked[~is_new] = self.random.choice(known, rows - fresh, replace=False)
            batch = self.with_keys(self.orders[picked], self.lines[picked])
            write_arrow(self.folder / "upserts" / f"{number:04}.arrow", batch)
        return base + self.sizes.burst * fresh

    def write_keys(self, path, picked):
        columns = [pa.array(self.orders[picked]), pa.array(self.lines[picked])]
        write_arrow(self.folder / path, pa.Table.from_arrays(columns, schema=KEY_SCHEMA))

    def reads(self, known):
        """Keys of gets and ends of ranges, among the keys after the burst."""
        sizes = self.sizes
        hot = self.random.choice(known, min(sizes.hot_warm, known), replace=False)
        self.write_keys("gets_hot.arrow", np.concatenate([hot, self.random.choice(hot, sizes.hot_gets)]))
        uniform = self.random.choice(known, sizes.uniform_warm + sizes.uniform_gets, replace=False)
        self.write_keys("gets_uniform.arrow", uniform)
        orders = np.unique(self.orders[:known])
        first = self.random.integers(len(orders) - sizes.range_orders, size=sizes.ranges)
        ends = {"first": orders[first], "last": orders[first + sizes.range_orders - 1]}
        write_arrow(self.folder / "ranges.arrow", pa.table(ends))

    def changes(self, known):
        """Single rows, and the deletes that take away all of their keys."""
        sizes = self.sizes
        gone = self.random.choice(known, known // 10, replace=False)
        single = gone[: sizes.single_one + sizes.single_many]
        write_arrow(self.folder / "singles.arrow", self.with_keys(self.orders[single], self.lines[single]))
        gone = self.random.permutation(gone)
        for number, start in enumerate(range(0, len(gone), sizes.batch_rows), 1):
            self.write_keys(f"deletes/{number:04}.arrow", gone[start : start + sizes.batch_rows])
