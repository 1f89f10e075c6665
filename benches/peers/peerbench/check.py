"""Compares what drivers answered with what is right.

In: lines of a process, the data folder. Out: a sentence for each answer that is wrong or missing.
"""

import json
from decimal import Decimal

import numpy as np

from peerbench.lineitem import QUERIES, plain_answer
from peerbench.oracle import STATE_OF_LABEL
from peerbench.ycsb import Model

# Steps that change rows or wait; what follows them answers for them.
UNANSWERABLE = ("load", "load_shuffled", "drain", "rest", "w2a", "w2b", "w7", "ycsb_load")
ABSOLUTE, RELATIVE = Decimal("1.5e-6"), Decimal("1e-12")


def is_number(value):
    return not isinstance(value, bool) and (
        isinstance(value, (int, float)) or (isinstance(value, str) and value[:1].isdigit())
    )


def same_value(found, right):
    if is_number(found) and is_number(right):
        found, right = Decimal(str(found)), Decimal(str(right))
        return abs(found - right) <= max(ABSOLUTE, RELATIVE * abs(right))
    return found == right


def same_rows(found, right):
    found, right = plain_answer(found), plain_answer(right)
    return len(found) == len(right) and all(
        len(row) == len(other) and all(map(same_value, row, other)) for row, other in zip(found, right)
    )


class Checker:
    """Knows the answers over one data folder."""

    def __init__(self, folder):
        self.answers = json.loads((folder / "expected.json").read_text())
        self.digests = np.load(folder / "expected.npz") if (folder / "expected.npz").exists() else {}
        self.model = Model(folder / "ycsb")

    def problems(self, lines, steps):
        """What is wrong with the answers among the lines of one process, which was to do these steps."""
        answers = [line for line in lines if line["kind"] == "answer"]
        of_ycsb = {line["step"].removeprefix("ycsb_"): line for line in answers if line["step"].startswith("ycsb_")}
        others = [line for line in answers if not line["step"].startswith("ycsb_")]
        found = [problem for line in others for problem in self.problem(line)]
        right = self.model.digests({name: line["ops"] for name, line in of_ycsb.items()}) if of_ycsb else {}
        for name, line in of_ycsb.items():
            if line["digest"] != right[name]:
                found.append(f"ycsb_{name}: {line['ops']} operations read {line['digest']}, right is {right[name]}")
        return found + missing(lines, steps)

    def problem(self, line):
        where = f"{line['step']} {line['label']}".strip()
        if "query" in line:
            right = self.answers[STATE_OF_LABEL[line["label"]]][line["query"]]
            if not same_rows(line["answer"], right):
                yield f"{where}: {line['query']} is {line['answer']}, right is {right}"
            return
        right = self.digests[line["step"]][line["ops"]].tolist()
        if line["digest"] != right:
            yield f"{where}: digest of {line['ops']} operations is {line['digest']}, right is {right}"


def missing(lines, steps):
    """Answers that a process which ended well did not give, of the steps that it did not say it cannot do."""
    if lines[-1]["outcome"] != "ok":
        return []
    given = {}
    for line in lines:
        if line["kind"] == "answer":
            given.setdefault((line["step"], line["label"]), set()).add(line.get("query", "digest"))
    skipped = {line["step"] for line in lines if line["kind"] == "skip"}
    wanted = [step.partition("=")[::2] for step in steps.split(",")]
    return [
        f"{step} {label}: no answer to {', '.join(sorted(absent))}"
        for step, label in wanted
        if step not in skipped and (absent := expected(step) - given.get((step, label), set()))
    ]


def expected(step):
    """Which answers a step gives."""
    if step in ("check", "w3", "w3cold"):
        return set(QUERIES)
    return set() if step in UNANSWERABLE else {"digest"}
