"""Delta Lake (deltalake): MERGE by the key; the files of each change are synced here, because the library does not."""

import deltalake
import pyarrow as pa
import pyarrow.csv
from deltalake import DeltaTable, QueryBuilder, WriterProperties, write_deltalake

from peerbench.lineitem import COLUMNS, KEY, QUERIES
from peerbench.store import Store, Syncer, Unsupported

ON_KEY = " AND ".join(f"t.{name} = s.{name}" for name in KEY)
WRITER = WriterProperties(compression="ZSTD", compression_level=3)


class Delta(Store):
    """One table; each change makes a new version of it."""

    def version(self):
        return deltalake.__version__

    def settings(self):
        return {
            "key": "none, the load would keep duplicates",
            "upserts": "MERGE, update all when matched, insert all when not",
            "cache": "none",
            "durability": "the library never syncs; new files and their folders are synced within the clock",
            "options": "zstd level 3",
            "drain": "optimize.compact",
            "load": "pyarrow reads the CSV, write_deltalake as a stream",
            "gets": "QueryBuilder (DataFusion)",
        }

    def open(self):
        self.path = self.folder / "delta"
        self.syncer = Syncer(self.folder)
        self.table_now = DeltaTable(self.path) if self.path.exists() else None

    def close(self):
        self.table_now = None

    def load(self, csv):
        reader = pa.csv.open_csv(csv, convert_options=pa.csv.ConvertOptions(column_types=dict(COLUMNS)))
        write_deltalake(self.path, reader, writer_properties=WRITER)
        self.syncer.sync()
        self.table_now = DeltaTable(self.path)

    def merge(self, rows):
        return self.table_now.merge(rows, ON_KEY, source_alias="s", target_alias="t", writer_properties=WRITER)

    def upsert(self, prepared):
        self.merge(prepared).when_matched_update_all().when_not_matched_insert_all().execute()
        self.syncer.sync()

    def delete(self, prepared):
        self.merge(prepared).when_matched_delete().execute()
        self.syncer.sync()

    def prepare_singles(self, table):
        return [table.slice(row, 1) for row in range(table.num_rows)]

    def writer(self, threads):
        if threads > 1:
            raise Unsupported("writers conflict with each other")
        return self.upsert, lambda: None

    def drain(self):
        self.table_now.optimize.compact(writer_properties=WRITER)
        self.syncer.sync()

    def arrow(self, sql):
        return pa.table(QueryBuilder().register("lineitem", self.table_now).execute(sql))

    def scan(self, name):
        return list(zip(*(column.to_pylist() for column in self.arrow(QUERIES[name]).columns)))

    def get(self, key):
        return self.arrow(f"SELECT * FROM lineitem WHERE l_orderkey = {key[0]} AND l_linenumber = {key[1]}")

    def range(self, first, last, names):
        return self.arrow(f"SELECT {', '.join(names)} FROM lineitem WHERE l_orderkey BETWEEN {first} AND {last}")
