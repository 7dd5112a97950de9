"""A disk that loses power, or is full: ext4 in a file. What was never synced is in the kernel's memory, and not in a copy of the file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_SIZE = "64M"
_BLOCK = 64 * 1024
_OPTIONS = "loop,commit=300"  # ext4 would flush its journal every 5 s


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system in the file `image`, mounted at `folder`."""

    image: Path
    folder: Path

    def lose_power(self) -> None:
        """What was not synced is gone; the folder shows what is left, after the journal was replayed."""
        left = self.image.with_suffix(".left")
        shutil.copyfile(self.image, left)
        _call("umount", self.folder)
        left.replace(self.image)
        _call("mount", "-o", _OPTIONS, self.image, self.folder)

    def leave_free(self, kilobytes: int) -> None:
        """Fill the disk but for so much."""
        ballast = self.folder / "ballast"
        ballast.unlink(missing_ok=True)
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:  # the file system's own books take room too, so nobody can tell how much there is
                file.write(bytes(_BLOCK))
        os.truncate(ballast, ballast.stat().st_size - kilobytes * 1024)


@contextmanager
def mounted(folder: Path, image: Path) -> Iterator[Disk]:
    """The disk, for as long as the block lasts; an empty one where there is no image yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        _call("truncate", "--size", _SIZE, image)
        _call("mkfs.ext4", "-q", "-F", "-m", "0", image)
    _call("mount", "-o", _OPTIONS, image, folder)
    try:
        yield Disk(image, folder)
    finally:
        _call("umount", folder)


def is_possible(folder: Path) -> bool:
    """It takes root, mkfs.ext4 and loop devices."""
    try:
        with mounted(folder / "mount", folder / "image"):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


def _call(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
