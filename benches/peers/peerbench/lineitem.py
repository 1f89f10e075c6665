"""The table that is measured: its columns, the five queries, and the digest of its rows.

In: Arrow tables with columns of `lineitem`. Out: 18 integers for each row (see README.md, "Digests").
"""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MONEY = pa.decimal128(15, 2)
COLUMNS = [
    ("l_orderkey", pa.int64()),
    ("l_partkey", pa.int64()),
    ("l_suppkey", pa.int64()),
    ("l_linenumber", pa.int32()),
    ("l_quantity", MONEY),
    ("l_extendedprice", MONEY),
    ("l_discount", MONEY),
    ("l_tax", MONEY),
    ("l_returnflag", pa.string()),
    ("l_linestatus", pa.string()),
    ("l_shipdate", pa.date32()),
    ("l_commitdate", pa.date32()),
    ("l_receiptdate", pa.date32()),
    ("l_shipinstruct", pa.string()),
    ("l_shipmode", pa.string()),
    ("l_comment", pa.string()),
]
NAMES = [name for name, _ in COLUMNS]
KEY = ["l_orderkey", "l_linenumber"]
VALUES = [name for name in NAMES if name not in KEY]
FEW = ["l_orderkey", "l_extendedprice", "l_shipdate"]
SCHEMA = pa.schema([pa.field(name, kind, nullable=name not in KEY) for name, kind in COLUMNS])
KEY_SCHEMA = pa.schema([SCHEMA.field(name) for name in KEY])

SQL_TYPES = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    MONEY: "DECIMAL(15,2)",
    pa.string(): "VARCHAR",
    pa.date32(): "DATE",
}
SQL_COLUMNS = ", ".join(f"{name} {SQL_TYPES[kind]}{' NOT NULL' if name in KEY else ''}" for name, kind in COLUMNS)

QUERIES = {
    "count": "SELECT count(*) FROM lineitem",
    "q1": "SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), "
    "sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), "
    "avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) FROM lineitem "
    "WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus",
    "q6": "SELECT sum(l_extendedprice * l_discount) FROM lineitem WHERE l_shipdate >= DATE '1994-01-01' "
    "AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    "sum": "SELECT sum(l_quantity) FROM lineitem",
    "length": "SELECT max(length(l_comment)) FROM lineitem",
}

MODULUS = 1_000_000_007
DIGEST_WIDTH = 2 + len(COLUMNS)


def byte_sums(column):
    """The sum of the bytes of each text of a column."""
    array = pa.concat_arrays([chunk.cast(pa.large_binary()) for chunk in pa.chunked_array(column).chunks])
    _, offsets, data = array.buffers()
    offsets = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    before = np.concatenate([[0], np.cumsum(data, dtype=np.int64)])
    return before[offsets[1:]] - before[offsets[:-1]]


def numbers(column, kind):
    """A column as integers: decimals in hundredths, dates in days, text as sums of bytes."""
    if kind == pa.string():
        return byte_sums(column)
    if kind == MONEY:
        column = pc.multiply(column.cast(MONEY), pa.scalar(Decimal(100)))
    if kind == pa.date32():
        column = column.cast(kind).cast(pa.int32())
    return column.cast(pa.int64()).to_numpy()


def from_numbers(column, kind):
    """A column of hundredths, days, integers or text as the column of lineitem that it stands for."""
    if kind == MONEY:
        column = pc.multiply(column.cast(pa.decimal128(19, 0)), pa.scalar(Decimal("0.01")))
    if kind == pa.date32():
        column = column.cast(pa.int32())
    return column.cast(kind)


def row_digests(table):
    """One row of 18 integers for each row of a table that has some or all columns of lineitem."""
    digests = np.zeros((table.num_rows, DIGEST_WIDTH), np.int64)
    if table.num_rows == 0:
        return digests
    digests[:, 0] = 1
    for index, (name, kind) in enumerate(COLUMNS):
        if name in table.column_names:
            digests[:, 2 + index] = numbers(table.column(name), kind)
    orders, prices = NAMES.index("l_orderkey"), NAMES.index("l_extendedprice")
    digests[:, 1] = digests[:, 2 + orders] * digests[:, 2 + prices] % MODULUS
    return digests


def digest(table):
    """The digest of a table's rows."""
    return row_digests(table).sum(axis=0).tolist()


def plain_answer(rows):
    """An answer as JSON has it: rows of numbers and text, sorted by their text columns."""
    plain = [
        [value if isinstance(value, (int, float, str)) or value is None else str(value) for value in row]
        for row in rows
    ]
    return sorted(plain, key=lambda row: [value for value in row if isinstance(value, str) and not value[:1].isdigit()])
