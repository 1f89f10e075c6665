"""ClickHouse in the process (chdb): a ReplacingMergeTree, which finds what is superseded when it merges or reads.

Every write inserts rows with a higher version, a delete inserts tombstones; every read says FINAL.
"""

import importlib.metadata
import time

from chdb import session

from peerbench.lineitem import COLUMNS, KEY, NAMES, QUERIES, SQL_TYPES
from peerbench.store import Store, Unsupported

TYPES = {
    "BIGINT": "Int64",
    "INTEGER": "Int32",
    "DECIMAL(15,2)": "Decimal(15, 2)",
    "DATE": "Date32",
    "VARCHAR": "String",
}
FEW_VALUES = ("l_returnflag", "l_linestatus", "l_shipinstruct", "l_shipmode")
CSV_COLUMNS = ", ".join(f"{name} {TYPES[SQL_TYPES[kind]]}" for name, kind in COLUMNS)
ALL, ORDER = ", ".join(NAMES), ", ".join(KEY)


def column(name, kind):
    kind = TYPES[SQL_TYPES[kind]]
    return f"{name} LowCardinality({kind})" if name in FEW_VALUES else f"{name} {kind}"


class ChDb(Store):
    """One session; it runs one query at a time."""

    def version(self):
        server = self.session.query("SELECT version()", "ArrowTable").column(0)[0].as_py()
        return f"{importlib.metadata.version('chdb')} (ClickHouse {server})"

    def settings(self):
        return {
            "key": "not unique in the table, made so when read",
            "upserts": "ReplacingMergeTree(version, is_deleted), INSERT from Arrow; deletes are tombstones",
            "cache": "ClickHouse's defaults",
            "durability": "async_insert = 0, fsync_after_insert = 1, fsync_part_directory = 1",
            "options": "LowCardinality for columns of few values; all reads with FINAL; "
            "do_not_merge_across_partitions_select_final = 1",
            "drain": "OPTIMIZE TABLE ... FINAL",
            "load": "INSERT FROM file(CSVWithNames)",
            "gets": "SELECT ... FINAL with max_threads = 1; a query costs 2 ms before it reads anything",
        }

    def open(self):
        self.session = session.Session(str(self.folder / "chdb"))
        self.session.query("SET async_insert = 0")
        self.session.query("SET do_not_merge_across_partitions_select_final = 1")
        self.last = 0
        if self.rows("EXISTS TABLE lineitem")[0][0]:
            self.last = self.rows("SELECT max(version) FROM lineitem")[0][0]

    def close(self):
        self.session.close()

    def arrow(self, sql):
        return self.session.query(sql, "ArrowTable")

    def rows(self, sql):
        table = self.arrow(sql)
        return list(zip(*(values.to_pylist() for values in table.columns)))

    def load(self, csv):
        columns = ", ".join(column(name, kind) for name, kind in COLUMNS)
        self.session.query(
            f"CREATE TABLE lineitem ({columns}, version UInt64, is_deleted UInt8) "
            f"ENGINE = ReplacingMergeTree(version, is_deleted) ORDER BY ({ORDER}) "
            "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        )
        self.session.query(
            f"INSERT INTO lineitem ({ALL}, version, is_deleted) "
            f"SELECT {ALL}, 0, 0 FROM file('{csv}', 'CSVWithNames', '{CSV_COLUMNS}')"
        )

    def insert(self, rows, columns, deleted):
        self.last += 1
        # `Python(rows)` is the Arrow table that has this name here.
        source = f"SELECT {columns}, {self.last}, {deleted} FROM Python(rows)"
        self.session.query(f"INSERT INTO lineitem ({columns}, version, is_deleted) {source}")

    def upsert(self, prepared):
        self.insert(prepared, ALL, 0)

    def delete(self, prepared):
        self.insert(prepared, ORDER, 1)

    def prepare_singles(self, table):
        rows = zip(*(values.to_pylist() for values in table.columns))
        return [", ".join(f"'{value}'" for value in row) for row in rows]

    def writer(self, threads):
        if threads > 1:
            raise Unsupported("a session runs one query at a time")
        return self.write_one, lambda: None

    def write_one(self, row):
        self.last += 1
        self.session.query(f"INSERT INTO lineitem ({ALL}, version, is_deleted) VALUES ({row}, {self.last}, 0)")

    def drain(self):
        self.session.query("OPTIMIZE TABLE lineitem FINAL")

    def rest(self):
        """Waits until nothing was merged for two seconds."""
        until, quiet = time.monotonic() + 120, 0
        while quiet < 20 and time.monotonic() < until:
            quiet = 0 if self.rows("SELECT count() FROM system.merges")[0][0] else quiet + 1
            time.sleep(0.1)

    def scan(self, name):
        return self.rows(QUERIES[name].replace("FROM lineitem", "FROM lineitem FINAL"))

    def get(self, key):
        where = f"l_orderkey = {key[0]} AND l_linenumber = {key[1]}"
        return self.arrow(f"SELECT {ALL} FROM lineitem FINAL WHERE {where} SETTINGS max_threads = 1")

    def get_many(self, keys):
        among = f"({ORDER}) IN (SELECT {ORDER} FROM Python(keys))"
        return self.arrow(f"SELECT {ALL} FROM lineitem FINAL WHERE {among}")

    def range(self, first, last, names):
        where = f"l_orderkey BETWEEN {first} AND {last}"
        return self.arrow(f"SELECT {', '.join(names)} FROM lineitem FINAL WHERE {where}")
