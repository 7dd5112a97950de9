"""Bring damaged or missing objects of a store from the other one, where that has them whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from synthmill.store.dvc import Dvc, Side
from synthmill.store.files import aside_of, storage_errors
from synthmill.store.holdings import Holding
from synthmill.store.lock import Progress
from synthmill.store.objects import hash_file
from synthmill.store.placement import read_text
from synthmill.store.stage import Stage, read_address


def mend(dvc: Dvc, side: Side, names: Sequence[str], say: Progress) -> set[str]:
    """Names of the objects that are whole now. A damaged one is replaced, and only once the other side's bytes are proven."""
    other: Side = "remote" if side == "cache" else "cache"
    failed = set(dvc.copy(other, side, names)) if names else set()
    for name in failed:
        say(f"repair: the {other} does not hold {name} whole either; another clone's cache may")
    return set(names) - failed


def mend_work_tree(
    root: Path, dvc: Dvc, holdings: Iterable[Holding], damage: Mapping[str, str | None], say: Progress
) -> None:
    """Replace files in datasets/ that were links to damaged cache objects; `damage`: object -> MD5 of what lay there.

    A file with other bytes than the damage is somebody's edit, and stays.
    """
    recorded = read_text(root / "dvc.lock")
    for holding in holdings:
        dataset = holding.release.dataset
        if holding.address is None or read_address(recorded, dataset) != holding.address:
            continue
        out = Stage(dataset, "", ()).out
        places = [(root / out / path, name) for path, name in (holding.files or {}).items() if name in damage]
        hurt = [(path, name) for path, name in places if path.is_file() and hash_file(path) == damage[name]]
        for path, name in hurt:
            _link(Path(dvc.place("cache")) / name[:2] / name[2:], path)
        if hurt:
            say(f"repair: {len(hurt)} files of {out} are brought back")


def _link(source: Path, path: Path) -> None:
    """Link, or where that cannot be copy, the object over the file."""
    aside = aside_of(path)
    with storage_errors(path):
        try:
            aside.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, aside)
        aside.replace(path)
