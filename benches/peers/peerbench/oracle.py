"""What the right answers are, from a DuckDB of its own that holds plain rows and the changes to them.

In: the data folder, and a connection with the rows of the CSV in `base`.
Out: `states/STATE.parquet` (rows by key), `expected.json` (the five answers by state), `expected.npz` (for each read
step an array whose row N is the digest of its first N operations).
"""

import json

import numpy as np
import pyarrow as pa

from peerbench.arrow_files import read_arrow
from peerbench.lineitem import DIGEST_WIDTH, FEW, KEY, NAMES, QUERIES, plain_answer, row_digests

# Which state the answers under a label are about.
STATE_OF_LABEL = {
    "loaded": "base",
    "after_w2a": "after_w2a",
    "at_rest": "after_w2a",
    "after_w2b": "after_w2b",
    "after_w7": "after_w7",
}
ON_KEY = f"USING ({', '.join(KEY)})"


def make(folder, sizes, connection, parts, log):
    log("computing the right answers")
    states = ["base", "after_w2a"]
    apply_upserts(folder, connection)
    make_state(connection, "after_w2a", sizes.burst)
    if len(parts) > 1:
        make_state(connection, "after_w2b", sizes.batches)
        delete(folder, connection)
        states += ["after_w2b", "after_w7"]
    (folder / "states").mkdir()
    answers = {}
    for state in states:
        answers[state] = answers_over(connection, state)
        ordered = f"SELECT {', '.join(NAMES)} FROM {state} ORDER BY {', '.join(KEY)}"
        connection.execute(f"COPY ({ordered}) TO '{folder}/states/{state}.parquet'")
    (folder / "expected.json").write_text(json.dumps(answers, indent=1) + "\n")
    if len(parts) > 1:
        np.savez(folder / "expected.npz", **read_digests(folder, sizes, connection))


def apply_upserts(folder, connection):
    connection.execute("CREATE TABLE changes AS SELECT 0 AS batch, * FROM base LIMIT 0")
    for path in sorted((folder / "upserts").iterdir()):
        rows = read_arrow(path)
        connection.register("rows", rows)
        connection.execute(f"INSERT INTO changes SELECT {int(path.stem)}, * FROM rows")
        connection.unregister("rows")


def make_state(connection, name, batches):
    """The rows after so many batches: of each key what the last batch says that has it, or what the CSV says."""
    keys = ", ".join(KEY)
    connection.execute(f"""
        CREATE TABLE {name} AS
        WITH latest AS (SELECT {keys}, max(batch) AS batch FROM changes WHERE batch <= {batches} GROUP BY {keys})
        SELECT {", ".join(NAMES)} FROM changes JOIN latest USING ({keys}, batch)
        UNION ALL
        SELECT {", ".join(NAMES)} FROM base ANTI JOIN latest {ON_KEY}""")


def delete(folder, connection):
    connection.execute(f"CREATE TABLE gone AS SELECT {', '.join(KEY)} FROM base LIMIT 0")
    for path in sorted((folder / "deletes").iterdir()):
        rows = read_arrow(path)
        connection.register("rows", rows)
        connection.execute("INSERT INTO gone FROM rows")
        connection.unregister("rows")
    connection.execute(f"CREATE TABLE after_w7 AS SELECT * FROM after_w2a ANTI JOIN gone {ON_KEY}")


def answers_over(connection, state):
    return {
        name: plain_answer(connection.execute(query.replace("FROM lineitem", f"FROM {state}")).fetchall())
        for name, query in QUERIES.items()
    }


def read_digests(folder, sizes, connection):
    """By step: the digests of its first 0, 1, 2, ... operations."""
    hot = read_arrow(folder / "gets_hot.arrow")
    uniform = read_arrow(folder / "gets_uniform.arrow")
    singles = read_arrow(folder / "singles.arrow")
    ranges = of_ranges(connection, read_arrow(folder / "ranges.arrow"))
    few = np.zeros(DIGEST_WIDTH, bool)
    few[[0, 1, *(2 + NAMES.index(name) for name in FEW)]] = True
    return {
        "w4a": of_gets(connection, hot.slice(sizes.hot_warm)),
        "w4b": of_gets(connection, uniform.slice(sizes.uniform_warm)),
        "w4c": of_gets(connection, uniform.slice(0, sizes.many_calls * sizes.many)),
        "w4c_hot": of_gets(connection, pa.concat_tables([hot.slice(0, sizes.many)] * sizes.many_hot_calls)),
        "w4d": of_gets(connection, uniform.slice(sizes.sql_warm, sizes.sql_gets)),
        "w5": ranges,
        "w5c": ranges * few,
        "w6": running(row_digests(singles.slice(0, sizes.single_one))),
        "w6x64": running(row_digests(singles.slice(sizes.single_one))),
    }


def running(digests):
    """Sums of the first 0, 1, 2, ... rows."""
    return np.concatenate([np.zeros((1, DIGEST_WIDTH), np.int64), np.cumsum(digests, axis=0)])


def of_operations(table, operations):
    """Running digests of operations, from their rows, which have the number of their operation in `op`."""
    numbers = table.column("op").to_numpy()
    by_row = running(row_digests(table))
    return by_row[np.searchsorted(numbers, np.arange(operations + 1), side="left")]


def of_gets(connection, keys):
    keys = keys.append_column("op", [np.arange(keys.num_rows)])
    connection.register("keys", keys)
    table = connection.sql(f"SELECT op, t.* FROM keys JOIN after_w2a t {ON_KEY} ORDER BY op").to_arrow_table()
    connection.unregister("keys")
    return of_operations(table, keys.num_rows)


def of_ranges(connection, ranges):
    ranges = ranges.append_column("op", [np.arange(ranges.num_rows)])
    connection.register("ranges", ranges)
    table = connection.sql(
        "SELECT op, t.* FROM ranges JOIN after_w2a t ON l_orderkey BETWEEN first AND last ORDER BY op"
    ).to_arrow_table()
    connection.unregister("ranges")
    return of_operations(table, ranges.num_rows)
