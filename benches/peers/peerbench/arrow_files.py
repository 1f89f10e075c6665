"""Arrow files of the data folder: one record batch each, read into memory whole."""

import pyarrow as pa


def write_arrow(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table.combine_chunks(), max_chunksize=max(table.num_rows, 1))


def read_arrow(path):
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
