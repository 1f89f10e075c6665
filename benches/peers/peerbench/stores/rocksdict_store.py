"""RocksDB through rocksdict: bytes to bytes.

A key is the two integers big-endian; a value is the other 14 columns as text between bars, decimals in hundredths and
dates in days. Making and taking apart values is the caller's work: it is outside the clock except where a scan or a
load cannot do without. A scan reads all values and parses them with pyarrow, a chunk at a time, and DuckDB adds up.
"""

import importlib.metadata
import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    IngestExternalFileOptions,
    Options,
    Rdict,
    ReadOptions,
    SstFileWriter,
    WriteBatch,
    WriteOptions,
)

from peerbench.lineitem import COLUMNS, KEY, QUERIES, SCHEMA, SQL_TYPES, VALUES, from_numbers
from peerbench.store import CORES, Store, Unsupported
from peerbench.ycsb import FIELD_BYTES

BLOCK_BYTES = 8192
CHUNK_ROWS = 200_000
FILE_ROWS = 1_000_000
KEY_BYTES = np.dtype([("order", ">i8"), ("line", ">i4")])
COLUMNS_OF_QUERY = {
    "q1": ["l_quantity", "l_extendedprice", "l_discount", "l_tax", "l_returnflag", "l_linestatus", "l_shipdate"],
    "q6": ["l_quantity", "l_extendedprice", "l_discount", "l_shipdate"],
    "sum": ["l_quantity"],
    "length": ["l_comment"],
}


def in_numbers(name):
    """A column in SQL, as values have it."""
    kind = SQL_TYPES[SCHEMA.field(name).type]
    if kind == "DATE":
        return f"({name} - DATE '1970-01-01')"
    return f"(100 * {name})::BIGINT" if kind.startswith("DECIMAL") else name


ENCODED = f"encode(concat_ws('|', {', '.join(in_numbers(name) for name in VALUES)}))"


def keys_of(table):
    keys = np.empty(table.num_rows, KEY_BYTES)
    keys["order"], keys["line"] = (table.column(name).to_numpy() for name in KEY)
    packed = keys.tobytes()
    return [packed[at : at + 12] for at in range(0, len(packed), 12)]


class RocksDict(Store):
    """One column family, opened raw."""

    kinds = ("upsert", "ycsb")

    def version(self):
        return importlib.metadata.version("rocksdict")

    def settings(self):
        return {
            "upserts": "a WriteBatch each; values are encoded before the clock starts",
            "cache": f"{self.memory_mib} MiB with index and filter blocks, memtables of {self.memory_mib // 8} more",
            "durability": "the log is synced at each write; files of the load are synced when they are taken in",
            "options": f"lz4, zstd at the bottom, blocks of {BLOCK_BYTES} bytes, bloom filter of 10 bits, "
            f"{CORES} background jobs, log files used again",
            "drain": "flush of the memtable; compactions go on by themselves",
            "load": "DuckDB reads the CSV, sorts and encodes; SST files are written and taken in",
            "values": "text between bars; gets and ranges give bytes and decode nothing; scans parse with pyarrow and "
            "add up with DuckDB",
            "language": "called from Python: a microsecond or so for each get, put and row of a range or scan; scans "
            "of the table are mostly that",
        }

    def options(self, log_files=4):
        table = BlockBasedOptions()
        table.set_block_cache(Cache(self.memory_mib << 20))
        table.set_block_size(BLOCK_BYTES)
        table.set_bloom_filter(10, False)
        table.set_format_version(5)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_bottommost_compression_type(DBCompressionType.zstd())
        options.set_max_background_jobs(CORES)
        options.set_level_compaction_dynamic_level_bytes(True)
        options.set_max_subcompactions(CORES)
        options.set_write_buffer_size(self.memory_mib << 17)
        options.set_max_write_buffer_number(4)
        options.set_bytes_per_sync(1 << 20)
        # A log that overwrites an older one has no new length to make durable.
        options.set_recycle_log_file_num(log_files)
        return options

    def open(self, log_files=4):
        # A database that is there brings its column family's options out of a file, which has neither cache nor filter.
        options = self.options(log_files)
        self.database = Rdict(str(self.folder / "rocks"), options, column_families={"default": options})
        self.synced, self.unlogged = WriteOptions(), WriteOptions()
        self.synced.sync = True
        self.unlogged.disable_wal = True
        self.encoder = duckdb.connect(config={"threads": CORES})

    def close(self):
        self.database.close()

    def pairs(self, table):
        """Keys and values of the rows of a table."""
        self.encoder.register("rows", table)
        values = self.encoder.sql(f"SELECT {ENCODED} AS value FROM rows").to_arrow_table()
        return zip(keys_of(table), values.column("value").to_pylist())

    def load(self, csv):
        columns = {name: SQL_TYPES[kind] for name, kind in COLUMNS}
        source = f"FROM read_csv('{csv}', header = true, columns = {columns}) ORDER BY {', '.join(KEY)}"
        rows = self.encoder.sql(f"SELECT {', '.join(KEY)}, {ENCODED} AS value {source}").to_arrow_reader(FILE_ROWS)
        paths = []
        for chunk in rows:
            paths.append(str(self.folder / f"load-{len(paths)}.sst"))
            self.write_sst(paths[-1], pa.Table.from_batches([chunk]))
        moving = IngestExternalFileOptions()
        moving.set_move_files(True)
        self.database.ingest_external_file(paths, moving)

    def write_sst(self, path, rows):
        """A file of sorted rows; the writer refuses a key that does not ascend."""
        writer = SstFileWriter(self.options())
        writer.open(path)
        for key, value in zip(keys_of(rows), rows.column("value").to_pylist()):
            writer[key] = value
        writer.finish()

    def put_all(self, pairs, options):
        batch = WriteBatch(raw_mode=True)
        for key, value in pairs:
            batch.put(key, value)
        self.database.write(batch, options)

    def prepare(self, table):
        return list(self.pairs(table))

    def upsert(self, prepared):
        self.put_all(prepared, self.synced)

    def prepare_deletes(self, table):
        return keys_of(table)

    def delete(self, prepared):
        batch = WriteBatch(raw_mode=True)
        for key in prepared:
            batch.delete(key)
        self.database.write(batch, self.synced)

    def prepare_singles(self, table):
        return list(self.pairs(table))

    def writer(self, threads):
        if threads > 1:
            raise Unsupported(
                "rocksdict holds Python's lock while RocksDB syncs, so writers cannot share a sync as in C++"
            )
        return lambda pair: self.database.put(*pair, self.synced), lambda: None

    def drain(self):
        self.database.flush()

    def rest(self):
        """Waits until no compaction was running or due for a second."""
        until, quiet = time.monotonic() + 120, 0
        while quiet < 10 and time.monotonic() < until:
            names = ("num-running-compactions", "compaction-pending", "num-running-flushes", "mem-table-flush-pending")
            busy = any(self.database.property_int_value(f"rocksdb.{name}") for name in names)
            quiet = 0 if busy else quiet + 1
            time.sleep(0.1)

    def scan(self, name):
        options = ReadOptions()
        options.fill_cache(False)
        options.set_readahead_size(2 << 20)
        if name == "count":
            return [(sum(1 for _ in self.database.keys(read_opt=options)),)]
        columns, chunks, lines = COLUMNS_OF_QUERY[name], [], []
        for value in self.database.values(read_opt=options):
            lines.append(value)
            if len(lines) == CHUNK_ROWS:
                chunks.append(parse(lines, columns))
                lines = []
        chunks.append(parse(lines, columns))
        self.encoder.register("lineitem", pa.concat_tables(chunk for chunk in chunks if chunk))
        return self.encoder.execute(QUERIES[name]).fetchall()

    def prepare_keys(self, table):
        return keys_of(table)

    def get(self, key):
        return [(key, self.database.get(key))]

    def prepare_many(self, table):
        return keys_of(table)

    def get_many(self, prepared):
        return list(zip(prepared, self.database.get(prepared)))

    def range(self, first, last, names):
        low, high = first.to_bytes(8, "big"), (last + 1).to_bytes(8, "big")
        options = ReadOptions()
        options.set_iterate_upper_bound(high)
        return list(self.database.items(from_key=low, read_opt=options))

    def table(self, results, names):
        pairs = [pair for pairs in results for pair in pairs if pair[1] is not None]
        keys = np.frombuffer(b"".join(key for key, _ in pairs), KEY_BYTES)
        table = parse([value for _, value in pairs], VALUES)
        table = table.append_column("l_orderkey", [keys["order"].astype(np.int64)])
        return table.append_column("l_linenumber", [keys["line"].astype(np.int32)]).select(names)

    def ycsb_load(self, tables):
        # What uses log files again does not write without a log.
        self.close()
        self.open(log_files=0)
        for table in tables:
            fields = zip(*(column.to_pylist() for column in table.columns))
            self.put_all(((key.encode(), "".join(values).encode()) for key, *values in fields), self.unlogged)
        self.database.flush()
        self.close()
        self.open()

    def ycsb_read(self, key):
        return self.database.get(key.encode())

    def ycsb_update(self, key, field, value):
        key, at = key.encode(), field * FIELD_BYTES
        record = self.database.get(key)
        self.database.put(key, record[:at] + value.encode() + record[at + FIELD_BYTES :], self.synced)

    def ycsb_insert(self, key, fields):
        self.database.put(key.encode(), "".join(fields).encode(), self.synced)

    def ycsb_scan(self, key, count):
        found = []
        for value in self.database.values(from_key=key.encode()):
            found.append(value)
            if len(found) == count:
                break
        return found


def parse(lines, names):
    """Columns of lineitem out of values; none if there are no values."""
    if not lines:
        return None
    text = {name: pa.string() for name in VALUES if SCHEMA.field(name).type == pa.string()}
    table = pa.csv.read_csv(
        pa.BufferReader(b"\n".join(lines)),
        read_options=pa.csv.ReadOptions(column_names=VALUES),
        parse_options=pa.csv.ParseOptions(delimiter="|", quote_char=False),
        convert_options=pa.csv.ConvertOptions(include_columns=names, column_types=text),
    )
    return pa.table({name: from_numbers(table.column(name), SCHEMA.field(name).type) for name in names})
