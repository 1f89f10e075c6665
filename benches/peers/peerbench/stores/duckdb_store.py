"""DuckDB, in three ways to upsert: ON CONFLICT over a primary key, DELETE and INSERT over it, and both without a key.

Without a primary key DuckDB does not check that keys are unique; the delete before each insert sees to it.
"""

import duckdb

from peerbench.lineitem import COLUMNS, KEY, NAMES, SQL_COLUMNS, SQL_TYPES
from peerbench.store import CORES, Store, table_of_tuples
from peerbench.ycsb import FIELDS

ON_KEY = " AND ".join(f"lineitem.{name} = rows.{name}" for name in KEY)
CSV_COLUMNS = {name: SQL_TYPES[kind] for name, kind in COLUMNS}
# Unsorted batches are up to fifty times as slow where they change half of a table.
SORTED = f"SELECT * FROM rows ORDER BY {', '.join(KEY)}"
BY_KEY = "SELECT * FROM lineitem WHERE l_orderkey = $1 AND l_linenumber = $2"


class DuckDb(Store):
    """What the three have in common."""

    key_clause = f", PRIMARY KEY ({', '.join(KEY)})"
    how = ""

    def version(self):
        return duckdb.__version__

    def settings(self):
        return {
            **({} if self.key_clause else {"key": "none, the load would keep duplicates"}),
            "upserts": self.how,
            "cache": "DuckDB's default, 80 % of the machine's memory",
            "durability": "the log is synced at each commit",
            "options": f"threads = {CORES}; checkpoint_threshold = 4 GB, because with the 16 MB default each batch "
            "pays for a checkpoint; batches are sorted, which is faster",
            "drain": "CHECKPOINT",
            "load": "INSERT FROM read_csv with typed columns, then CHECKPOINT",
            "gets": "EXECUTE of a prepared statement; all reads are SQL",
        }

    def open(self):
        config = {"threads": CORES, "checkpoint_threshold": "4GB"}
        self.connection = duckdb.connect(str(self.folder / "lineitem.duckdb"), config=config)
        self.prepared = False

    def close(self):
        self.connection.close()

    def load(self, csv):
        self.connection.execute(f"CREATE TABLE lineitem ({SQL_COLUMNS}{self.key_clause})")
        self.connection.execute(f"INSERT INTO lineitem FROM read_csv('{csv}', header = true, columns = {CSV_COLUMNS})")
        self.connection.execute("CHECKPOINT")

    def upsert(self, prepared):
        self.upsert_with(self.connection, prepared)

    def upsert_with(self, connection, rows):
        """Replaces the rows of an Arrow table in one transaction: delete them, insert them."""
        connection.register("rows", rows)
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM lineitem USING rows WHERE {ON_KEY}")
        connection.execute(f"INSERT INTO lineitem {SORTED}")
        connection.execute("COMMIT")

    def delete(self, prepared):
        self.connection.register("rows", prepared)
        self.connection.execute(f"DELETE FROM lineitem USING rows WHERE {ON_KEY}")

    def prepare_singles(self, table):
        return list(zip(*(column.to_pylist() for column in table.columns)))

    def writer(self, threads):
        connection = self.connection.cursor()
        return lambda row: self.write_one(connection, row), connection.close

    def write_one(self, connection, row):
        connection.execute("BEGIN")
        connection.execute("DELETE FROM lineitem WHERE l_orderkey = ? AND l_linenumber = ?", (row[0], row[3]))
        connection.execute(f"INSERT INTO lineitem VALUES ({', '.join('?' * len(NAMES))})", row)
        connection.execute("COMMIT")

    def drain(self):
        self.connection.execute("CHECKPOINT")

    def query(self, sql):
        return self.connection.execute(sql).fetchall()

    def get(self, key):
        if not self.prepared:
            self.connection.execute(f"PREPARE by_key AS {BY_KEY}")
            self.prepared = True
        return self.connection.execute(f"EXECUTE by_key({key[0]}, {key[1]})").fetchall()

    def sql_get(self, key):
        return self.get(key)

    def get_many(self, prepared):
        self.connection.register("keys", prepared)
        return self.connection.sql(f"SELECT * FROM lineitem SEMI JOIN keys USING ({', '.join(KEY)})").to_arrow_table()

    def range(self, first, last, names):
        where = f"l_orderkey BETWEEN {first} AND {last}"
        return self.connection.sql(f"SELECT {', '.join(names)} FROM lineitem WHERE {where}").to_arrow_table()

    def table(self, results, names):
        if isinstance(results[0], list):
            return table_of_tuples([row for rows in results for row in rows], names)
        return super().table(results, names)


class KeylessDuckDb(DuckDb):
    """No primary key: nothing to keep up to date, nothing to find rows with."""

    key_clause = ""
    how = "no primary key; DELETE USING and INSERT in one transaction"


class SwappingDuckDb(DuckDb):
    """A primary key, but rows are deleted and inserted."""

    how = "primary key; DELETE USING and INSERT in one transaction"


class KeyedDuckDb(DuckDb):
    """A primary key and the statement that is made for it."""

    kinds = ("upsert", "ycsb")
    how = "primary key; INSERT OR REPLACE, which is ON CONFLICT DO UPDATE of all columns"

    def upsert_with(self, connection, rows):
        connection.register("rows", rows)
        connection.execute(f"INSERT OR REPLACE INTO lineitem {SORTED}")

    def write_one(self, connection, row):
        connection.execute(f"INSERT OR REPLACE INTO lineitem VALUES ({', '.join('?' * len(NAMES))})", row)

    def ycsb_load(self, tables):
        fields = ", ".join(f"field{field} VARCHAR" for field in range(FIELDS))
        self.connection.execute(f"CREATE TABLE usertable (key VARCHAR PRIMARY KEY, {fields})")
        self.connection.execute("BEGIN")
        for table in tables:
            self.connection.register("records", table)
            self.connection.execute("INSERT INTO usertable FROM records")
        self.connection.execute("COMMIT")
        self.connection.execute("CHECKPOINT")
        columns = ", ".join(f"field{field}" for field in range(FIELDS))
        for name, sql in {
            "ycsb_read": f"SELECT {columns} FROM usertable WHERE key = $1",
            "ycsb_scan": f"SELECT {columns} FROM usertable WHERE key >= $1 ORDER BY key LIMIT $2",
            **{
                f"ycsb_update{field}": f"UPDATE usertable SET field{field} = $1 WHERE key = $2"
                for field in range(FIELDS)
            },
        }.items():
            self.connection.execute(f"PREPARE {name} AS {sql}")

    def ycsb_read(self, key):
        return self.connection.execute(f"EXECUTE ycsb_read('{key}')").fetchone()

    def ycsb_update(self, key, field, value):
        self.connection.execute(f"EXECUTE ycsb_update{field}('{value}', '{key}')")

    def ycsb_insert(self, key, fields):
        self.connection.execute(f"INSERT INTO usertable VALUES (?{', ?' * FIELDS})", [key, *fields])

    def ycsb_scan(self, key, count):
        return self.connection.execute(f"EXECUTE ycsb_scan('{key}', {count})").fetchall()
