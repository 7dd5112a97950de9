"""A child process that does what DVC is asked for, one order after the other; the only module that imports DVC.

    python -m synthmill.store.dvc_child  < ["push", {...}]\n["restore", {...}]\n  > {"said": [...]}\n{"done": [...]}\n{"refused": [...]}

DVC says where cache and remote are and how to speak to them, and writes dvc.lock; the bytes we move ourselves (cache.py,
local_remote.py, dvc_remote.py), because DVC reads each several times, flushes none to the disk, and believes: a read-only file in the
cache is not hashed again, and a remote that has a folder's `.dir` object is taken to have all of its files.

    python -m synthmill.store.dvc_child get URL PATH REV OUT    copies a folder of another repository, in which nothing is ordered

An order that fails for a reason that nobody foresaw ends the process with a traceback, whose last line is the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dvc.repo import Repo
from dvc.repo.open_repo import clean_repos
from dvc.rwlock import rwlock
from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta

from synthmill.errors import ReleaseError, SynthmillError
from synthmill.store import dvc_stores, local_remote
from synthmill.store.cache import Link, LocalStore, fill, link_out
from synthmill.store.dvc_remote import Patience, Refused, ServerRemote
from synthmill.store.files import publish_bytes
from synthmill.store.objects import Tree
from synthmill.store.placement import read_text
from synthmill.store.reasons import reason_of, without_user
from synthmill.store.stage import write_entry

Say = Callable[[str], None]

_SECRET = re.compile(r"key|secret|token|password|auth|connection_string|sas")


def main() -> None:
    """Obey orders until the input ends, which it also does when the parent is killed; or get what the arguments name."""
    if sys.argv[1:]:
        _get(*sys.argv[2:])
        return
    with _answers() as answers, Repo() as repo:
        for line in sys.stdin:
            order, subject = json.loads(line)
            _tell(answers, _answer(repo, order, subject, lambda words: _tell(answers, {"said": [words]})))


def _answers() -> IO[str]:
    """The real stdout, for answers alone: DVC's own words go to stderr from here on."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def _tell(answers: IO[str], words: Mapping[str, Sequence[object]]) -> None:
    answers.write(json.dumps(words) + "\n")  # one call, for threads tell too
    answers.flush()


def _answer(repo: Repo, order: str, subject: Any, say: Say) -> dict[str, Sequence[object]]:
    try:
        return {"done": _obey(repo, order, subject, say)}
    except SynthmillError as error:
        return {"refused": [error.what, error.where, error.hint]}


def _obey(repo: Repo, order: str, subject: Any, say: Say) -> Sequence[object]:
    match order:
        case "commit":
            return _commit(repo, subject["stage"], subject["out"], Tree(subject["files"], subject["sizes"]))
        case "relink":
            _relink(repo, subject["out"], Tree(subject["files"], subject["sizes"]))
        case "restore":
            _restore(repo, subject["out"])
        case "push":
            return _push(repo, subject["objects"], Patience(*subject["patience_s"]), say)
        case _:  # about objects, by name
            with _remote_errors(repo):
                return dvc_stores.obey(order.split(), subject, lambda side: _store(repo, side))
    return []


# The cache ------------------------------------------------------------------------------------------------------------


def _commit(repo: Repo, stage_name: str, out_path: str, tree: Tree) -> list[str]:
    """Fill the cache and write the stage's entry in dvc.lock; or nothing, and the files that do not hold the tree's bytes."""
    folder = Path(repo.root_dir, out_path)
    _refuse_ignored(repo, folder, tree)
    with repo.lock:
        [stage] = repo.stage.collect(stage_name)
        read, write = [dep.fs_path for dep in stage.deps], [out.fs_path for out in stage.outs]
        is_hard = repo.config["core"].get("hardlink_lock", False)
        with rwlock(repo.tmp_dir, repo.fs, "synthmill dvc commit", read, write, is_hard):
            if damaged := fill(_cache(repo), folder, tree, _links(repo)):
                return damaged
            _write_entry(repo, stage, folder, tree)
    return []


def _write_entry(repo: Repo, stage: PipelineStage, folder: Path, tree: Tree) -> None:
    stage.save_deps()
    for out in stage.outs:
        if Path(out.fs_path) == folder:
            out.ignore()
            out.hash_info = HashInfo("md5", tree.address)
            out.meta = Meta(size=sum(tree.sizes.values()), nfiles=len(tree.files), isdir=True)
            out.files = None
        else:  # small, and in git itself
            out.save()
    # DVC would write the file in place, and a kill leave half of it, with the entries of others
    entry = json.loads(json.dumps(to_single_stage_lockfile(stage)))
    lock = Path(repo.root_dir, "dvc.lock")
    publish_bytes(lock, write_entry(read_text(lock), stage.name, entry).encode())


def _relink(repo: Repo, out_path: str, tree: Tree) -> None:
    """Link the work tree to the cache, and tell DVC what it holds, so that `dvc status` need not read it all."""
    folder = Path(repo.root_dir, out_path)
    link_out(_cache(repo), folder, tree, _links(repo))
    known = ((str(folder / path), HashInfo("md5", name), None) for path, name in tree.files.items())
    repo.state.save_many(known, repo.fs)
    repo.state.save_link(str(folder), repo.fs)


def _refuse_ignored(repo: Repo, folder: Path, tree: Tree) -> None:
    seen = {Path(top, name) for top, _, names in repo.dvcignore.walk(repo.fs, str(folder)) for name in names}
    if hidden := sorted(path for path in tree.files if folder / path not in seen):
        what = f".dvcignore hides {len(hidden)} of the dataset's {len(tree.files)} files, {hidden[0]} for one"
        raise ReleaseError(what, where=str(folder), hint="Mend .dvcignore and run again: a release is whole.")


def _cache(repo: Repo) -> LocalStore:
    return _local(repo.cache.local)


def _links(repo: Repo) -> list[Link]:
    return list(repo.cache.local.cache_types)


def _local(store: LocalHashFileDB) -> LocalStore:
    local = LocalStore(Path(store.path), is_shared=store._dir_mode & 0o2000 != 0)
    local.root.mkdir(parents=True, exist_ok=True)
    return local


# The remote -----------------------------------------------------------------------------------------------------------


def _push(repo: Repo, objects: Mapping[str, int], patience: Patience, say: Say) -> list[str]:
    """Have every object on the remote, proven; returns those that it lacked. ReleaseError."""
    with _remote_errors(repo):
        store = _store(repo, "remote")
        if isinstance(store, LocalHashFileDB):
            is_inside = Path(store.path).resolve().is_relative_to(Path(repo.root_dir).resolve())
            return local_remote.send(_cache(repo), _local(store), objects, may_share=is_inside)
        place = hashlib.sha256(_name_remote(repo).encode()).hexdigest()[:16]
        record = Path(repo.root_dir, ".synthmill", "proven", f"{place}.json")
        return ServerRemote(store, patience, say, record, _secrets(repo)).send(_cache(repo), objects)


def _store(repo: Repo, side: str) -> HashFileDB:
    if side == "cache":
        cache: HashFileDB = repo.cache.local
        return cache
    remote = repo.cloud.get_remote(command="push")
    # DVC would make the folder, on whatever lies below a mount point that is not mounted.
    if remote.fs.protocol == "local" and not Path(remote.path).is_dir():
        where = _name_remote(repo)
        raise ReleaseError("it is not there (moved, or not mounted?)", where=where, hint="Bring it back.")
    odb: HashFileDB = remote.odb
    return odb


@contextmanager
def _remote_errors(repo: Repo) -> Iterator[None]:
    """What DVC or any client says, in one line without secrets: the remote, the reason, what to do."""
    try:
        yield
    except Refused as refused:
        words = f"{refused.reason.words}, {refused.step}"
        raise ReleaseError(words, where=_name_remote(repo), hint=refused.reason.advice) from refused
    except SynthmillError:
        raise
    except Exception as error:
        reason = reason_of(error, _secrets(repo))
        raise ReleaseError(reason.words, where=_name_remote(repo), hint=reason.advice) from error


def _name_remote(repo: Repo) -> str:
    name = repo.config["core"].get("remote")
    return f"DVC remote {name} ({without_user(str(_settings(repo).get('url', '')))})"


def _secrets(repo: Repo) -> list[str]:
    settings = _settings(repo).items()
    return [value for key, value in settings if _SECRET.search(key) and isinstance(value, str) and value]


def _settings(repo: Repo) -> dict[str, object]:
    return dict(repo.config["remote"].get(repo.config["core"].get("remote"), {}))


def _get(url: str, path: str, rev: str, out: str) -> None:
    try:
        Repo.get(url, path, out=out, rev=rev)
    finally:
        clean_repos()  # DVC clones a URL into a temporary folder


def _restore(repo: Repo, out: str) -> None:
    try:
        repo.pull(targets=[out], force=True)
    except Exception as error:  # of DVC or any client
        reason = reason_of(error)
        raise ReleaseError(
            f"the released files do not come back: {reason.words}", where=out, hint=reason.advice
        ) from error


if __name__ == "__main__":
    main()
