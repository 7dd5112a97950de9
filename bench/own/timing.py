"""Seconds, core-seconds and peak memory of one piece of work, printed as the peers print theirs."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def print_run(work: Callable[[], Iterable[float]]) -> None:
    start, worked = time.perf_counter(), time.process_time()
    values = [float(value) for value in work()]
    seconds = time.perf_counter() - start
    core_seconds = time.process_time() - worked
    run = {"values": values, "seconds": seconds, "core_seconds": core_seconds, "peak_bytes": peak_bytes()}
    print(json.dumps(run))


def peak_bytes() -> int:
    """Of this process since its program began; what getrusage says includes the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
