"""Seconds and peak memory of one piece of work, printed as the peers print theirs."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def print_run(work: Callable[[], Iterable[float]]) -> None:
    start = time.perf_counter()
    values = [float(value) for value in work()]
    seconds = time.perf_counter() - start
    print(json.dumps({"values": values, "seconds": seconds, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Of this process since its program began; what getrusage says includes the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
