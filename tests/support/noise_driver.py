"""A driver to send signals to: makes a slow job and prints its rows as they come. SIGINT is a wish to stop.

noise_driver.py STATE inline|WORKERS
"""

import signal
import sys
import threading
from pathlib import Path

from support.noise_jobs import NoiseJob, noise_job

from synthmill.engine import Progress
from synthmill.errors import Interrupted
from synthmill.inline import Inline

ROWS = 6000


def slow_job(state: Path) -> NoiseJob:
    return noise_job(state, rows=ROWS, params={"seconds": 0.05}, rules=("height < 1.4",))


def show(progress: Progress) -> None:
    sys.stdout.write(f"{progress.rows} rows, {progress.workers} workers\n")
    sys.stdout.flush()


def main(state: Path, engine_name: str) -> int:
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    if engine_name == "inline":
        engine = Inline()
    else:
        from synthmill.pool import Pool

        engine = Pool(workers=int(engine_name))
    job = slow_job(state)
    with engine:
        run = job.run(engine.workers)
        try:
            engine.generate(run, job.kit(job.fitted()), job.state.shards, show, stop.is_set)
        except Interrupted as interrupted:
            return interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
