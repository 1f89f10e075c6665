"""What the machine is, and how long its disk takes to sync.

Out: text by topic for the report; latencies of a bare append and fdatasync.
"""

import os
import platform
from pathlib import Path
from time import perf_counter, perf_counter_ns

RECORD_BYTES = 200


def value_of(path, name):
    """The value behind `name :` in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def file_system(folder):
    """The type of the file system that a folder is on."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if str(folder.resolve()).startswith(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def facts(folder):
    memory = int(value_of("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    return {
        "processor": f"{value_of('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{memory:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, {file_system(folder)}",
        "python": platform.python_version(),
    }


def sync_latencies(folder, seconds=1.0, most=2000):
    """Microseconds that appends of 200 bytes, each with fdatasync, take."""
    path, latencies = folder / "sync-probe", []
    until = perf_counter() + seconds
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while perf_counter() < until and len(latencies) < most:
        started = perf_counter_ns()
        os.write(descriptor, b"x" * RECORD_BYTES)
        os.fdatasync(descriptor)
        latencies.append((perf_counter_ns() - started) / 1e3)
    os.close(descriptor)
    path.unlink()
    return sorted(latencies)


def sync_line(folder):
    """A line for the results: rate and percentiles of bare syncs."""
    latencies = sync_latencies(folder)
    return {
        "kind": "sync",
        "rate": len(latencies) * 1e6 / sum(latencies),
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
    }
