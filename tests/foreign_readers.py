"""Other readers of Parquet open the files of a database.

Usage: python3 tests/foreign_readers.py path/to/rustling
Installs nothing; needs `pip install -r tests/requirements.txt` (pyarrow, duckdb).

Writes a database through the command line, then checks with pyarrow and with DuckDB: every SST opens with exactly the
user's columns and types (and `__rowid` where there is no key), rows ascend by key, and after `compact` the Parquet
files in a table's folder are the table.
"""

import decimal
import glob
import os
import subprocess
import sys
import tempfile

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = "id bigint, part int, price decimal(15,2), day date, at timestamp, ok boolean, ratio double, note text"
TYPES = [
    ("id", pa.int64()),
    ("part", pa.int32()),
    ("price", pa.decimal128(15, 2)),
    ("day", pa.date32()),
    ("at", pa.timestamp("us")),
    ("ok", pa.bool_()),
    ("ratio", pa.float64()),
    ("note", pa.string()),
]


def run(binary, folder, *arguments):
    command = [binary, "--db", folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed: {done.stderr}")
    return done.stdout


def write_csv(path, ids, word):
    with open(path, "w", encoding="utf-8") as file:
        file.write("id,part,price,day,at,ok,ratio,note\n")
        for id in ids:
            note = "" if id % 7 == 0 else f'"{word}, ""{id}"""'
            file.write(f"{id // 3},{id % 3},{id}.05,2024-01-{id % 28 + 1:02},2024-01-01 00:00:{id % 60:02}.5,")
            file.write(f"{'true' if id % 2 else 'false'},{id / 8},{note}\n")


def check_file(path, types, key):
    table = pq.read_table(path)
    found = [(field.name, field.type) for field in table.schema]
    assert found == types, f"{path}: {found}"
    rows = list(zip(*(table.column(name).to_pylist() for name in key)))
    assert all(a < b for a, b in zip(rows, rows[1:])), f"{path}: rows do not ascend by {key}"
    count = duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall()[0][0]
    assert count == table.num_rows, f"{path}: DuckDB counts {count} rows, pyarrow {table.num_rows}"
    columns = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
    assert columns == [name for name, _ in types], f"{path}: DuckDB sees {columns}"
    return table.num_rows


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, "db")
        first, second = os.path.join(scratch, "first.csv"), os.path.join(scratch, "second.csv")
        write_csv(first, range(30_000), "first")
        write_csv(second, range(10_000, 20_000), "second")
        run(binary, folder, "load", first, "--table", "keyed", "--key", "id,part", "--schema", SCHEMA)
        run(binary, folder, "load", second, "--table", "keyed", "--on-conflict", "update")
        for id in range(50):
            run(binary, folder, "delete", "--table", "keyed", str(id), "1")
        run(binary, folder, "flush")
        run(binary, folder, "load", first, "--table", "keyless", "--no-key", "--schema", SCHEMA)

        tables = sorted(glob.glob(os.path.join(folder, "tables", "*")))
        assert len(tables) == 2, tables
        keyed, keyless = tables
        runs = sorted(glob.glob(os.path.join(keyed, "*.parquet")))
        assert len(runs) >= 3, f"too few runs to show anything: {runs}"
        rows = sum(check_file(path, TYPES, ["id", "part"]) for path in runs)
        for path in glob.glob(os.path.join(keyless, "*.parquet")):
            rows += check_file(path, TYPES + [("__rowid", pa.int64())], ["__rowid"])

        run(binary, folder, "compact")
        exported = os.path.join(scratch, "exported.csv")
        with open(exported, "w", encoding="utf-8") as file:
            file.write(run(binary, folder, "sql", "--format", "csv", "SELECT * FROM keyed ORDER BY id, part"))
        columns = {name: duckdb_type for name, duckdb_type in
                   [(row[0], row[1]) for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{keyed}/*.parquet'").fetchall()]}
        table = f"(SELECT * FROM read_csv('{exported}', header = true, columns = {columns}))"
        files = f"(SELECT * FROM '{keyed}/*.parquet')"
        left = duckdb.sql(f"SELECT count(*) FROM ({table} EXCEPT ALL {files})").fetchall()[0][0]
        right = duckdb.sql(f"SELECT count(*) FROM ({files} EXCEPT ALL {table})").fetchall()[0][0]
        count = duckdb.sql(f"SELECT count(*) FROM '{keyed}/*.parquet'").fetchall()[0][0]
        assert (left, right, count) == (0, 0, 30_000 - 50), (left, right, count)
        total = duckdb.sql(f"SELECT sum(price) FROM '{keyed}/*.parquet'").fetchall()[0][0]
        assert isinstance(total, decimal.Decimal), total
    print(f"{len(runs)} runs, {rows} rows: pyarrow {pa.__version__} and DuckDB {duckdb.__version__} agree")


if __name__ == "__main__":
    main()
