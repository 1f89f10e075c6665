"""One run of everything: repetitions, peers, sequences, processes; lines go to `results.jsonl` as they come.

In: the arguments of `run.py`. Out: the lines, a sentence for each wrong answer, and which processes did not end well.
"""

import datetime
import json
import os
import shutil
import sys

from peerbench import dataset, machine, plan, processes
from peerbench.check import Checker
from peerbench.driver import STORES, store_class
from peerbench.environment import HERE, revision

ALL_WORKLOADS = {"W1", "W2a", "W2b", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "YCSB"}
# Workloads that are as fast as the disk syncs; how fast that is, is measured right before.
SYNCING = {"W6", "YCSB"}
SMALL_PART, LARGE_FACTOR = 6, 10


def kinds(peer):
    """What work a peer does."""
    if peer == plan.OURS:
        return ("upsert", "ycsb")
    try:
        return store_class(peer).kinds
    except ImportError as failure:
        raise SystemExit(f"{peer} cannot be imported: {failure}; leave it out with --only, or install it") from None


class Session:
    """What is to be run, and what is known so far."""

    def __init__(self, arguments, log):
        self.arguments, self.log = arguments, log
        self.workloads = set(arguments.workloads or ALL_WORKLOADS)
        if unknown := self.workloads - ALL_WORKLOADS:
            raise SystemExit(
                f"unknown workloads: {', '.join(sorted(unknown))}; there are {', '.join(sorted(ALL_WORKLOADS))}"
            )
        self.peers = self.choose_peers()
        self.kinds = {peer: kinds(peer) for peer in self.peers}
        self.results = arguments.work / "results.jsonl"
        self.checkers, self.wrong, self.ended = {}, [], {}

    def choose_peers(self):
        known = [] if self.arguments.without_rustling else [plan.OURS]
        known += STORES
        chosen = self.arguments.only or known
        if unknown := set(chosen) - set(known):
            raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return chosen

    def run(self):
        """Makes the data, then runs everything. What the last run measured is kept beside, until the next one."""
        scales = self.growth_scales()
        data = self.data(None)
        for scale in scales:
            self.data(scale)
        if self.results.exists():
            self.results.replace(self.results.with_suffix(".before.jsonl"))
        self.file = open(self.results, "w")
        self.write(
            {
                "kind": "run",
                "date": datetime.date.today().isoformat(),
                "revision": revision(),
                "machine": machine.facts(self.arguments.work),
                "peers": self.peers,
                "partial": self.arguments.partial,
                **{name: getattr(self.arguments, name) for name in ("scale", "quick", "repeat", "budget", "cap")},
            }
        )
        self.write({"kind": "data", **json.loads((data / "meta.json").read_text())})
        for repetition in range(1, self.arguments.repeat + 1):
            for peer in self.peers:
                self.log(f"repetition {repetition} of {self.arguments.repeat}: {peer}")
                for name, steps, scale in plan.sequences(self.workloads, self.kinds[peer], scales):
                    self.sequence(peer, repetition, name, steps, scale)
        self.file.close()

    def write(self, line):
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def growth_scales(self):
        scale = self.arguments.scale
        scales = [scale] if self.workloads & {"W2a", "W9"} else []
        if "W9" in self.workloads:
            scales.insert(0, scale / SMALL_PART)
            scales += [scale * LARGE_FACTOR] if self.arguments.large else []
        return scales

    def data(self, scale):
        """The data folder of a scale; the usual one has everything, others only what growth needs."""
        usual = scale in (None, self.arguments.scale)
        scale = self.arguments.scale if usual else scale
        name = f"data-{scale:.4g}{'-quick' if self.arguments.quick else ''}"
        folder = self.arguments.data if usual and self.arguments.data else self.arguments.work / name
        sizes = plan.quick_sizes(scale) if self.arguments.quick else plan.Sizes(scale)
        if folder not in self.checkers:
            dataset.make(folder, sizes, dataset.EVERYTHING if usual else dataset.BURST_ONLY, self.log)
            self.checkers[folder] = Checker(folder)
        return folder

    def sequence(self, peer, repetition, name, steps, scale):
        """Runs the processes of one sequence on a fresh database, until one leaves it unfit for the next."""
        data = self.data(scale)
        database = self.arguments.work / "databases" / f"{peer}-{name}"
        shutil.rmtree(database, ignore_errors=True)
        database.mkdir(parents=True)
        try:
            self.processes(peer, repetition, name, steps, data, database)
        finally:
            shutil.rmtree(database, ignore_errors=True)

    def processes(self, peer, repetition, name, steps, data, database):
        for index, process in enumerate(steps):
            context = {"peer": peer, "repetition": repetition, "sequence": name, "steps": process.steps}
            context["memory_mib"] = process.memory_mib
            if (peer, name, index) in self.ended:
                self.write(
                    {"kind": "process", **context, "outcome": "not repeated", "why": self.ended[peer, name, index]}
                )
                if process.changes():
                    break
                continue
            if SYNCING & set(process.workloads):
                self.write({**machine.sync_line(self.arguments.work), **context})
            outcome = self.process(process, data, database, context)
            if outcome != "ok":
                self.ended[peer, name, index] = outcome
                if process.changes():
                    break

    def process(self, process, data, database, context):
        peer = context["peer"]
        program = [self.arguments.driver] if peer == plan.OURS else [sys.executable, "-m", "peerbench.driver"]
        command = [
            *map(str, program),
            "--peer",
            peer,
            "--steps",
            process.steps,
            "--data",
            str(data),
            "--db",
            str(database),
        ]
        command += ["--memory-mib", str(process.memory_mib), "--budget", str(self.arguments.budget)]
        errors = (
            self.arguments.work
            / "stderr"
            / f"{peer}-{context['sequence']}-{process.steps.split(',')[0].split('=')[0]}.txt"
        )
        errors.parent.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        # What was written before must not be on its way to the disk while this process is measured.
        os.sync()
        lines = processes.run(command, database, errors, self.arguments.cap, environment)
        for line in lines:
            self.write({**line, **context})
        last = lines[-1]
        self.log(
            f"  {context['sequence']}: {process.steps} - {last['outcome']} in {last['seconds']:.1f} s {last['why']}"
        )
        for problem in self.checkers[data].problems(lines, process.steps):
            self.wrong.append(f"{peer}, {context['sequence']}, {problem}")
            self.write({"kind": "wrong", **context, "problem": problem})
            self.log(f"  WRONG: {problem}")
        return last["outcome"]
