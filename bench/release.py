"""Adding and pushing many files: a release's own steps beside `dvc add` and `dvc push` of the same files, by turns.

    python -m bench.release                              2,000 files, 800 MB
    python -m bench.release --files 10000 --size-mb 4000

    python -m bench.release --beside                     the remote outside the workspace, where it gets files of its own

Both start DVC once or twice, link the work tree to the cache, and push to a folder on the same disk, inside the workspace. Ours also
hashes what it finds in the remote, and flushes everything to the disk, which DVC does not. The copy that places the files is in neither.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from synthmill.fingerprint import hash_file
from synthmill.store.placement import ReleaseRequest
from synthmill.store.release_steps import release
from synthmill.store.versions import Identity
from synthmill.store.workspace import create

COPIES = 6  # of the files at a time: the candidate, and work tree, cache and remote of one side, with room to spare
SETTINGS = {"cache.type": "reflink,hardlink,copy", "core.analytics": "false", "core.check_update": "false"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size-mb", type=int, default=800)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--beside", action="store_true", help="the remote outside the workspace")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        refuse_small_disk(Path(place), asked.size_mb * 10**6)
        source = Path(place, "candidate")
        make_files(source, asked.files, asked.size_mb * 10**6)
        pairs = [measure(Path(place, str(turn)), source, is_beside=asked.beside) for turn in range(asked.turns)]
    for ours_s, plain_s in pairs:
        print(f"ours {ours_s:6.2f} s   dvc add and push {plain_s:6.2f} s   ratio {ours_s / plain_s:.2f}")
    ratio = statistics.median(ours_s / plain_s for ours_s, plain_s in pairs)
    print(f"{asked.files:,} files, {asked.size_mb:,} MB: median ratio {ratio:.2f}")


def refuse_small_disk(place: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(place).free
    if free < COPIES * size_bytes:
        sys.exit(f"{place} has {free / 1e9:.1f} GB free, this takes up to {COPIES * size_bytes / 1e9:.1f} GB")


def make_files(folder: Path, files: int, size_bytes: int) -> None:
    """Files of equal size that do not compress, all different."""
    noise = np.random.default_rng(7)
    (folder / "data").mkdir(parents=True)
    for number in range(files):
        name = folder / "data" / f"synthetic-{number:05d}-of-{files:05d}.parquet"
        name.write_bytes(noise.bytes(size_bytes // files))


def measure(place: Path, source: Path, *, is_beside: bool) -> tuple[float, float]:
    """Seconds of ours and of plain DVC; what they made is removed."""
    seconds = []
    for run in (run_ours, run_plain):
        remote = place / "remote" if is_beside else place / "ws" / "remote"
        remote.mkdir(parents=True)
        os.sync()
        seconds.append(run(place / "ws", remote, source))
        shutil.rmtree(place)
    return seconds[0], seconds[1]


def run_ours(place: Path, remote: Path, source: Path) -> float:
    """From `release: dvc commit` to `release: git commit`."""
    workspace = create(place, remote=remote)
    recipe = workspace.root / "recipes" / "many.yaml"
    recipe.write_text("format: 1\ndataset: many\n")
    identity = Identity("schema", "code", "plan")
    plots = {"scores": b"score,value\n", "columns": b"column,shape\n"}
    request = ReleaseRequest(
        "many", "recipes/many.yaml", hash_file(recipe), (), source, {"rows": 1}, plots, identity, "run", {}
    )
    times: dict[str, float] = {}
    release(workspace, request, lambda line: times.__setitem__(line, time.perf_counter()))
    return times["release: git commit"] - times["release: dvc commit"]


def run_plain(place: Path, remote: Path, source: Path) -> float:
    shutil.copytree(source, place / "many")
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    dvc(place, "init", "--quiet")
    dvc(place, "remote", "add", "--default", "storage", str(remote))
    for name, value in SETTINGS.items():
        dvc(place, "config", name, value)
    dvc(place, "config", "--local", "core.site_cache_dir", str(place / ".dvc/tmp/site"))
    os.sync()
    started = time.perf_counter()
    dvc(place, "add", "--quiet", "many")
    dvc(place, "push", "--quiet")
    return time.perf_counter() - started


def dvc(place: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-P", "-m", "dvc", *arguments], cwd=place, check=True)


if __name__ == "__main__":
    main()
