"""Runs one process of a driver, reads its lines, watches its memory, and ends it when it takes too long.

In: a command. Out: the lines it printed, and one more of kind `process` that says how it went.
"""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from time import monotonic, sleep

SAMPLE_SECONDS = 0.02
MEMORY = ("RssAnon", "RssFile", "VmHWM")


def memory_of(pid):
    """Sizes in MiB of a process, by name; nothing when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: int(value.split()[0]) / 1024 for name, _, value in pairs if name in MEMORY}


class Output:
    """Reads the lines of a process in a thread; notes what memory it had when its database was open."""

    def __init__(self, process):
        self.process, self.lines, self.opened, self.broken = process, [], {}, ""
        # Nobody waits for what a driver prints when the run was interrupted.
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for text in self.process.stdout:
            try:
                line = json.loads(text)
            except ValueError:
                self.broken = text.strip()[:200]
                continue
            if line["kind"] == "open":
                self.opened = memory_of(self.process.pid)
            self.lines.append(line)


def disk_mib(folder):
    sizes = (os.lstat(os.path.join(at, name)).st_blocks for at, _, names in os.walk(folder) for name in names)
    return sum(sizes) * 512 / (1 << 20)


def end(process):
    """Ends a driver that runs, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command, folder, errors, cap, environment):
    """Runs a driver over the database in `folder`; standard error goes to the file `errors`."""
    started, peaks, outcome = monotonic(), {}, "ok"
    with open(errors, "wb") as error_file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=error_file, text=True, env=environment, start_new_session=True
        )
        output = Output(process)
        try:
            while process.poll() is None:
                for name, size in memory_of(process.pid).items():
                    peaks[name] = max(size, peaks.get(name, 0))
                if monotonic() - started > cap:
                    outcome = "cut off"
                    end(process)
                sleep(SAMPLE_SECONDS)
        finally:
            # It has a session of its own, so that an interrupt does not reach it.
            end(process)
        output.thread.join()
    why = ""
    if outcome == "ok" and (process.returncode != 0 or output.broken):
        outcome = "failed"
        tail = Path(errors).read_text(errors="replace").strip().splitlines()[-1:]
        why = output.broken or f"exit code {process.returncode}: {' '.join(tail)[:300]}"
    last = {
        "kind": "process",
        "outcome": outcome,
        "why": why,
        "seconds": monotonic() - started,
        "peaks": peaks,
        "opened": output.opened,
        "disk_mib": disk_mib(folder),
    }
    return [*output.lines, last]
