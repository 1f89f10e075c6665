"""Compares rustling-db with its peers: one command, from nothing to tables and plots.

`python3 benches/peers/run.py [--quick]`; README.md beside this file says what is measured and lists the options.
In: nothing but the checkout. Out: JSON lines in `target/peers/results.jsonl`, `RESULTS.md` and plots. Exit code 1 when
an answer was wrong, 3 when a process of rustling-db did not end well.
"""

import argparse
import os
import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(f"this is Python {sys.version.split()[0]}; run it with 3.11 or a newer one")

# No compiled files in the source tree.
sys.dont_write_bytecode = True

from peerbench import environment  # noqa: E402

QUICK = {"scale": 0.02, "repeat": 1, "budget": 1.0, "cap": 60.0}
FULL = {"scale": 1.0, "repeat": 3, "budget": 5.0, "cap": 300.0}


def log(text):
    print(text, file=sys.stderr, flush=True)


def names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def parse():
    parser = argparse.ArgumentParser(description="Compares rustling-db with its peers; see benches/peers/README.md.")
    parser.add_argument("--quick", action="store_true", help="small data and short budgets: minutes instead of hours")
    parser.add_argument("--scale", type=float, help="TPC-H scale factor")
    parser.add_argument("--repeat", type=int, help="repetitions of which the median counts")
    parser.add_argument("--budget", type=float, help="seconds for one measured loop")
    parser.add_argument("--cap", type=float, help="seconds for one process")
    parser.add_argument("--only", type=names, help="these peers only, by name, with commas")
    parser.add_argument("--workloads", type=names, help="these workloads only, with commas")
    parser.add_argument("--without-rustling", action="store_true")
    parser.add_argument("--driver", type=Path, help="a Rust driver that is built already")
    parser.add_argument("--data", type=Path, help="folder of the data")
    parser.add_argument(
        "--work", type=Path, default=environment.ROOT / "target" / "peers", help="folder of everything else"
    )
    parser.add_argument("--large", action="store_true", help="growth up to ten times the scale")
    parser.add_argument("--out", type=Path, help="folder for RESULTS.md and plots")
    parser.add_argument(
        "--report", type=Path, nargs="+", help="makes RESULTS.md and plots from these lines, runs nothing"
    )
    arguments = parser.parse_args()
    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    left_out = arguments.only or arguments.workloads or arguments.without_rustling or arguments.data
    differs = any(getattr(arguments, name) != value for name, value in FULL.items())
    arguments.partial = bool(left_out or differs)
    # What leaves something out does not write over the committed results, nor does a report of parts.
    whole = not arguments.partial and not arguments.report
    arguments.out = arguments.out or (environment.HERE if whole else arguments.work)
    return arguments


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    environment.enter(arguments.work, log)

    # Only now there is what these import.
    from peerbench import plan, report, session

    if arguments.report:
        report.write(arguments.report, arguments.out)
        log(f"wrote {arguments.out / 'RESULTS.md'}")
        return 0
    run = session.Session(arguments, log)
    if plan.OURS in run.peers and not arguments.driver:
        arguments.driver = environment.build_driver(log)
    run.run()
    report.write([run.results], arguments.out)
    log(f"wrote {arguments.out / 'RESULTS.md'}")
    for problem in run.wrong:
        log(f"WRONG: {problem}")
    ours = [why for (peer, _, _), why in run.ended.items() if peer == plan.OURS]
    return 1 if run.wrong else 3 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
