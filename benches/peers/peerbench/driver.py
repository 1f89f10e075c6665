"""A driver for the Python peers: does steps with one peer and prints JSON lines (README.md, "What a driver prints").

`python3 -m peerbench.driver --peer duckdb --steps load,w2a --data DIR --db DIR --memory-mib 1024 --budget 20`
"""

import argparse
import gc
import importlib
import json
import os
import sys
from pathlib import Path

from peerbench import steps, ycsb_steps
from peerbench.store import Unsupported

# Name of a peer: module and class.
STORES = {
    "duckdb": ("duckdb_store", "KeyedDuckDb"),
    "duckdb-swap": ("duckdb_store", "SwappingDuckDb"),
    "duckdb-nokey": ("duckdb_store", "KeylessDuckDb"),
    "chdb": ("chdb_store", "ChDb"),
    "delta": ("delta_store", "Delta"),
    "lance": ("lance_store", "Lance"),
    "rocksdict": ("rocksdict_store", "RocksDict"),
    "sqlite": ("sqlite_store", "Sqlite"),
    "datafusion": ("datafusion_store", "DataFusionParquet"),
    "polars": ("polars_store", "PolarsParquet"),
}


def store_class(peer):
    module, name = STORES[peer]
    return getattr(importlib.import_module(f"peerbench.stores.{module}"), name)


class Run:
    """What steps need: the peer, the data, the budget, and a place to print to."""

    def __init__(self, store, data, budget, out):
        self.store, self.data, self.budget, self.out = store, Path(data), budget, out
        self.meta = json.loads((self.data / "meta.json").read_text())
        self.step = self.label = ""

    def emit(self, kind, **fields):
        line = {"kind": kind, "step": self.step, "label": self.label, **fields}
        self.out.write(json.dumps(line, default=str) + "\n")
        self.out.flush()

    def figure(self, metric, value, unit, **more):
        self.emit("figure", metric=metric, value=value, unit=unit, **more)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--peer", "--steps", "--data", "--db"):
        parser.add_argument(name, required=True)
    parser.add_argument("--memory-mib", type=int, default=1024)
    parser.add_argument("--budget", type=float, default=20)
    arguments = parser.parse_args()
    # Libraries that write to standard output must not mix with the lines.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    store = store_class(arguments.peer)(arguments.db, arguments.memory_mib)
    run = Run(store, arguments.data, arguments.budget, out)
    store.open()
    run.emit("open", version=store.version(), settings=store.settings())
    gc.disable()
    for step in arguments.steps.split(","):
        run.step, _, run.label = step.partition("=")
        try:
            {**steps.STEPS, **ycsb_steps.STEPS}[run.step](run)
        except Unsupported as why:
            run.emit("skip", why=str(why))
        gc.collect()
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
