"""Polars over one Parquet file without a key.

It cannot upsert. After each change the file is written anew from the right rows, which is not timed.
"""

import polars as pl

from peerbench.lineitem import COLUMNS, MONEY, NAMES, SQL_TYPES
from peerbench.store import Store, Syncer

TYPES = {
    "BIGINT": pl.Int64,
    "INTEGER": pl.Int32,
    "DECIMAL(15,2)": pl.Decimal(MONEY.precision, MONEY.scale),
    "DATE": pl.Date,
    "VARCHAR": pl.String,
}


class PolarsParquet(Store):
    """One file."""

    kinds = ()

    def version(self):
        return pl.__version__

    def settings(self):
        return {
            "key": "none",
            "upserts": "none; the Parquet file is written anew from the right rows by key, outside the clock",
            "cache": "none",
            "durability": "the file is synced within the clock",
            "options": "zstd level 3, lazy frames",
            "load": "scan_csv to sink_parquet",
            "gets": "filters on the key's columns, with statistics",
        }

    def open(self):
        self.path = self.folder / "lineitem.parquet"

    def close(self):
        pass

    def write(self, frame):
        frame.select(NAMES).sink_parquet(self.path, compression="zstd", compression_level=3)
        Syncer(self.folder).sync()

    def load(self, csv):
        self.write(pl.scan_csv(csv, schema={name: TYPES[SQL_TYPES[kind]] for name, kind in COLUMNS}))

    def rewrite(self, parquet):
        self.write(pl.scan_parquet(parquet))

    def query(self, sql):
        return pl.SQLContext(lineitem=pl.scan_parquet(self.path)).execute(sql, eager=True).rows()

    def get(self, key):
        rows = pl.scan_parquet(self.path).filter(pl.col("l_orderkey") == key[0], pl.col("l_linenumber") == key[1])
        return rows.collect().to_arrow()

    def range(self, first, last, names):
        rows = pl.scan_parquet(self.path).filter(pl.col("l_orderkey").is_between(first, last))
        return rows.select(names).collect().to_arrow()
