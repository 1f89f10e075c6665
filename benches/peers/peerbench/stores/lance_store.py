"""Lance (pylance): merge_insert by one integer that stands for the key, with a BTREE index over it.

The library syncs nothing; the files of each change are synced here.
"""

import lance
import pyarrow as pa
import pyarrow.csv

from peerbench.lineitem import COLUMNS, NAMES, QUERIES, SCHEMA
from peerbench.store import Store, Syncer, Unsupported

# Lines of an order have numbers below this.
LINES = 8
SCHEMA_WITH_PK = SCHEMA.append(pa.field("pk", pa.int64()))


def numbered(table):
    return table.column("l_orderkey").to_numpy() * LINES + table.column("l_linenumber").to_numpy()


def with_pk(table):
    return table.append_column("pk", pa.array(numbered(table))).cast(SCHEMA_WITH_PK)


def among(table):
    """The condition that a row has one of the keys of a table."""
    return f"pk IN ({', '.join(map(str, numbered(table)))})"


class Lance(Store):
    """One dataset; each change makes a new version of it."""

    def version(self):
        return lance.__version__

    def settings(self):
        return {
            "key": "not checked by the load",
            "upserts": "merge_insert on an integer made of the key, BTREE index, optimize_indices after each batch",
            "cache": "Lance's defaults",
            "durability": "the library never syncs; new files and their folders are synced within the clock",
            "drain": "compact_files, optimize_indices, cleanup_old_versions",
            "load": "pyarrow reads the CSV, write_dataset as a stream, then the index",
            "gets": "to_table with a filter on the indexed integer",
        }

    def open(self):
        self.path = str(self.folder / "lineitem.lance")
        self.syncer = Syncer(self.folder)
        self.dataset = lance.dataset(self.path) if (self.folder / "lineitem.lance").exists() else None

    def close(self):
        self.dataset = None

    def load(self, csv):
        reader = pa.csv.open_csv(csv, convert_options=pa.csv.ConvertOptions(column_types=dict(COLUMNS)))
        batches = (with_pk(pa.Table.from_batches([batch])).to_batches()[0] for batch in reader)
        self.dataset = lance.write_dataset(pa.RecordBatchReader.from_batches(SCHEMA_WITH_PK, batches), self.path)
        self.dataset.create_scalar_index("pk", "BTREE")
        self.syncer.sync()

    def prepare(self, table):
        return with_pk(table)

    def merge(self, rows):
        self.dataset.merge_insert("pk").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        self.dataset = lance.dataset(self.path)

    def upsert(self, prepared):
        self.merge(prepared)
        self.dataset.optimize.optimize_indices()
        self.syncer.sync()

    def prepare_deletes(self, table):
        return among(table)

    def delete(self, prepared):
        self.dataset.delete(prepared)
        self.syncer.sync()

    def prepare_singles(self, table):
        table = with_pk(table)
        return [table.slice(row, 1) for row in range(table.num_rows)]

    def writer(self, threads):
        if threads > 1:
            raise Unsupported("writers conflict with each other")
        return self.write_one, lambda: None

    def write_one(self, row):
        self.merge(row)
        self.syncer.sync()

    def drain(self):
        self.dataset.optimize.compact_files()
        self.dataset.optimize.optimize_indices()
        self.dataset.cleanup_old_versions()
        self.dataset = lance.dataset(self.path)
        self.syncer.sync()

    def scan(self, name):
        query = QUERIES[name].replace("FROM lineitem", "FROM dataset")
        table = pa.Table.from_batches(self.dataset.sql(query).build().to_batch_records())
        return list(zip(*(column.to_pylist() for column in table.columns)))

    def prepare_keys(self, table):
        return numbered(table).tolist()

    def get(self, key):
        return self.dataset.to_table(NAMES, filter=f"pk = {key}")

    def prepare_many(self, table):
        return among(table)

    def get_many(self, prepared):
        return self.dataset.to_table(NAMES, filter=prepared)

    def range(self, first, last, names):
        return self.dataset.to_table(list(names), filter=f"pk >= {first * LINES} AND pk < {(last + 1) * LINES}")
