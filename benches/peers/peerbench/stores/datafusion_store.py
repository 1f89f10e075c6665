"""DataFusion over one Parquet file without a key: what rustling-db's scans should be as fast as.

It cannot upsert. After each change the file is written anew from the right rows, which is not timed.
"""

import datafusion
import pyarrow as pa
import pyarrow.parquet
from datafusion import SessionConfig, SessionContext

from peerbench.lineitem import COLUMNS, KEY
from peerbench.store import CORES, Store, Syncer

BY_KEY = "SELECT * FROM lineitem WHERE l_orderkey = $1 AND l_linenumber = $2"


class DataFusionParquet(Store):
    """One file."""

    kinds = ()

    def version(self):
        return datafusion.__version__

    def settings(self):
        return {
            "key": "none",
            "upserts": "none; the Parquet file is written anew from the right rows by key, outside the clock",
            "cache": "none",
            "durability": "the file is synced within the clock",
            "options": f"zstd level 3, {CORES} partitions; filters are pushed into the scan for gets and ranges only",
            "load": "COPY of the CSV",
            "gets": "EXECUTE of a prepared statement by the key's columns, with statistics and the page index",
        }

    def open(self):
        self.path = self.folder / "lineitem.parquet"
        if self.path.exists():
            self.start()

    def start(self):
        """New sessions over the file: one for scans, one that seeks keys."""
        self.scanner = SessionContext(SessionConfig().with_target_partitions(CORES))
        seeking = SessionConfig().with_target_partitions(1).set("datafusion.execution.parquet.pushdown_filters", "true")
        self.seeker = SessionContext(seeking)
        for context in (self.scanner, self.seeker):
            context.register_parquet("lineitem", str(self.path))
        self.seeker.sql(f"PREPARE by_key(BIGINT, INT) AS {BY_KEY}").collect()

    def close(self):
        self.scanner = self.seeker = None

    def copy(self, context, source):
        options = "'format.compression' 'zstd(3)'"
        context.sql(f"COPY (SELECT * FROM {source}) TO '{self.path}' STORED AS PARQUET OPTIONS ({options})").collect()
        Syncer(self.folder).sync()
        self.start()

    def load(self, csv):
        context = SessionContext(SessionConfig().with_target_partitions(CORES))
        context.register_csv("source", str(csv), schema=pa.schema(COLUMNS), has_header=True)
        self.copy(context, "source")

    def rewrite(self, parquet):
        context = SessionContext(SessionConfig().with_target_partitions(1))
        context.register_parquet("source", str(parquet))
        self.copy(context, f"source ORDER BY {', '.join(KEY)}")

    def query(self, sql):
        table = self.scanner.sql(sql).to_arrow_table()
        return list(zip(*(column.to_pylist() for column in table.columns)))

    def get(self, key):
        return self.seeker.sql(f"EXECUTE by_key({key[0]}, {key[1]})").to_arrow_table()

    def sql_get(self, key):
        return self.get(key)

    def range(self, first, last, names):
        return self.seeker.sql(
            f"SELECT {', '.join(names)} FROM lineitem WHERE l_orderkey BETWEEN {first} AND {last}"
        ).to_arrow_table()
