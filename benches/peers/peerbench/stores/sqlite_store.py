"""SQLite: a WITHOUT ROWID table, so that rows lie in the tree of the primary key.

Decimals are integers in hundredths and dates are days, which is what SQLite stores and compares fastest; the queries
are written for that.
"""

import sqlite3

import pyarrow as pa
import pyarrow.csv

from peerbench.lineitem import COLUMNS, KEY, NAMES, SCHEMA, from_numbers, numbers
from peerbench.store import Store
from peerbench.ycsb import FIELDS

DATABASE = "lineitem.sqlite"
PAGE_BYTES = 8192
# A checkpoint each 128 MiB of log instead of each 8 MiB: batches of 50,000 rows share them.
CHECKPOINT_PAGES = 16384
SQL_COLUMNS = ", ".join(f"{name} {'TEXT' if kind == pa.string() else 'INTEGER'} NOT NULL" for name, kind in COLUMNS)
REPLACE = f"INSERT OR REPLACE INTO lineitem VALUES ({', '.join('?' * len(NAMES))})"
BY_KEY = "WHERE l_orderkey = ? AND l_linenumber = ?"
QUERIES = {
    "count": "SELECT count(*) FROM lineitem",
    "q1": "SELECT l_returnflag, l_linestatus, sum(l_quantity) / 1e2, sum(l_extendedprice) / 1e2, "
    "sum(l_extendedprice * (100 - l_discount)) / 1e4, sum(l_extendedprice * (100 - l_discount) * (100 + l_tax)) / 1e6, "
    "avg(l_quantity) / 1e2, avg(l_extendedprice) / 1e2, avg(l_discount) / 1e2, count(*) FROM lineitem "
    "WHERE l_shipdate <= unixepoch('1998-09-02') / 86400 GROUP BY l_returnflag, l_linestatus",
    "q6": "SELECT sum(l_extendedprice * l_discount) / 1e4 FROM lineitem "
    "WHERE l_shipdate >= unixepoch('1994-01-01') / 86400 AND l_shipdate < unixepoch('1995-01-01') / 86400 "
    "AND l_discount BETWEEN 5 AND 7 AND l_quantity < 2400",
    "sum": "SELECT sum(l_quantity) / 1e2 FROM lineitem",
    "length": "SELECT max(length(l_comment)) FROM lineitem",
}


def tuples(table):
    """Rows as SQLite takes them."""
    columns = [
        table.column(name).to_pylist() if kind == pa.string() else numbers(table.column(name), kind).tolist()
        for name, kind in COLUMNS
        if name in table.column_names
    ]
    return list(zip(*columns))


class Sqlite(Store):
    """One connection, and one more for each writing thread."""

    kinds = ("upsert", "ycsb")

    def version(self):
        return sqlite3.sqlite_version

    def settings(self):
        return {
            "upserts": "INSERT OR REPLACE with executemany in one transaction; tuples are made before the clock starts",
            "cache": f"{self.memory_mib} MiB, no mapped files",
            "durability": "WAL, synchronous = FULL; the load is without a journal and synced at its end",
            "options": f"WITHOUT ROWID, pages of {PAGE_BYTES} bytes, decimals and dates as integers, "
            "a checkpoint each 128 MiB of log",
            "drain": "wal_checkpoint(TRUNCATE)",
            "load": "pyarrow reads the CSV, executemany inserts",
        }

    def open(self):
        self.connection = self.connect()

    def connect(self):
        connection = sqlite3.connect(
            self.folder / DATABASE, isolation_level=None, check_same_thread=False, timeout=600, cached_statements=512
        )
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{self.memory_mib << 10}")
        return connection

    def close(self):
        self.connection.close()

    def without_journal(self, insert):
        """A first load: nothing to go back to, and one sync at the end."""
        self.connection.execute("PRAGMA journal_mode = OFF")
        self.connection.execute("BEGIN")
        insert()
        self.connection.execute("COMMIT")
        self.connection.execute("PRAGMA journal_mode = WAL")

    def load(self, csv):
        self.connection.execute(f"CREATE TABLE lineitem ({SQL_COLUMNS}, PRIMARY KEY ({', '.join(KEY)})) WITHOUT ROWID")
        convert = pa.csv.ConvertOptions(column_types=dict(COLUMNS))

        def insert():
            for batch in pa.csv.open_csv(csv, convert_options=convert):
                self.connection.executemany(REPLACE, tuples(pa.Table.from_batches([batch])))

        self.without_journal(insert)

    def prepare(self, table):
        return tuples(table)

    def upsert(self, prepared):
        self.connection.execute("BEGIN")
        self.connection.executemany(REPLACE, prepared)
        self.connection.execute("COMMIT")

    def prepare_deletes(self, table):
        return self.prepare_keys(table)

    def delete(self, prepared):
        self.connection.execute("BEGIN")
        self.connection.executemany(f"DELETE FROM lineitem {BY_KEY}", prepared)
        self.connection.execute("COMMIT")

    def prepare_singles(self, table):
        return tuples(table)

    def writer(self, threads):
        connection = self.connect()
        return lambda row: connection.execute(REPLACE, row), connection.close

    def drain(self):
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def scan(self, name):
        return self.connection.execute(QUERIES[name]).fetchall()

    def get(self, key):
        return self.connection.execute(f"SELECT * FROM lineitem {BY_KEY}", key).fetchall()

    def sql_get(self, key):
        return self.get(key)

    def range(self, first, last, names):
        sql = f"SELECT {', '.join(names)} FROM lineitem WHERE l_orderkey BETWEEN ? AND ?"
        return self.connection.execute(sql, (first, last)).fetchall()

    def table(self, results, names):
        rows = [row for rows in results for row in rows]
        columns = zip(names, zip(*rows))
        return pa.table({name: from_numbers(pa.array(column), SCHEMA.field(name).type) for name, column in columns})

    def ycsb_load(self, tables):
        fields = ", ".join(f"field{field} TEXT" for field in range(FIELDS))
        self.connection.execute(f"CREATE TABLE usertable (key TEXT PRIMARY KEY, {fields}) WITHOUT ROWID")
        sql = f"INSERT INTO usertable VALUES (?{', ?' * FIELDS})"

        def insert():
            for table in tables:
                self.connection.executemany(sql, zip(*(column.to_pylist() for column in table.columns)))

        self.without_journal(insert)

    def ycsb_read(self, key):
        return self.connection.execute("SELECT * FROM usertable WHERE key = ?", (key,)).fetchone()[1:]

    def ycsb_update(self, key, field, value):
        self.connection.execute(f"UPDATE usertable SET field{field} = ? WHERE key = ?", (value, key))

    def ycsb_insert(self, key, fields):
        self.connection.execute(f"INSERT INTO usertable VALUES (?{', ?' * FIELDS})", (key, *fields))

    def ycsb_scan(self, key, count):
        rows = self.connection.execute("SELECT * FROM usertable WHERE key >= ? ORDER BY key LIMIT ?", (key, count))
        return [row[1:] for row in rows]
