"""A workspace: a git and DVC repository with recipes/, dvc.yaml, prefect.yaml and Synthmill's settings in synthmill.toml.

ws = create(Path("data"))                 # `synthmill init data`
ws = find(Path.cwd())                     # from any folder below it
place(ws, request)                        # release_steps.py: `--place`
release(ws, request, print)               # release_steps.py: `--release`
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from synthmill.errors import WorkspaceError
from synthmill.settings import LOCAL, Settings, read_settings
from synthmill.settings import NAME as SETTINGS
from synthmill.store.dvc import SITE_CACHE, Dvc
from synthmill.store.files import publish_bytes, storage_errors
from synthmill.store.git import Git
from synthmill.store.lock import Progress, ShouldStop, hold

_IGNORED = ("/.synthmill/", "/datasets/*/", "/remote/", ".tmp-*")
_DVC_CONFIG = """\
[core]
    remote = storage
    analytics = false
    check_update = false
[cache]
    type = "reflink,hardlink,copy"
['remote "storage"']
    url = {remote}
"""
# Local to this copy of the workspace, because DVC takes no relative path here.
_DVC_LOCAL_CONFIG = """\
[core]
    site_cache_dir = {site}
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace that was found; `state` is absolute."""

    root: Path
    settings: Settings

    @property
    def state(self) -> Path:
        """Models, receipts and candidates: the state itself, or the copy that work is done in, where the settings name a URI."""
        return self.root / self.settings.folder

    @property
    def local(self) -> Path:
        """What never leaves this machine, such as SQLite."""
        return self.root / LOCAL

    @property
    def source_folders(self) -> tuple[Path, ...]:
        """Folders outside the workspace that recipes may read."""
        return tuple(self.root / folder for folder in self.settings.sources)

    @contextmanager
    def lock(self, progress: Progress, should_stop: ShouldStop = lambda: False) -> Iterator[tuple[Git, Dvc]]:
        """Git and DVC whose children share the workspace lock, held until the block ends."""
        with hold(self.root, progress, should_stop) as descriptor:
            git = Git(self.root, descriptor, self.settings.author)
            git.drop_stale_locks()
            with Dvc(self.root, descriptor, should_stop, progress) as dvc:
                yield git, dvc


def find(start: Path) -> Workspace:
    """The workspace that `start` lies in; WorkspaceError where there is none, or a part of it is missing."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / SETTINGS).is_file():
            return _open(folder)
    raise WorkspaceError(
        "this is no Synthmill workspace",
        where=str(start),
        hint=f"`synthmill init DIR` makes one; a folder is one when it holds {SETTINGS}.",
    )


def create(path: Path, *, remote: Path | None = None) -> Workspace:
    """Make the folder a workspace, and commit what was made; what is already there is kept, so a second call mends a first.

    `remote` is the folder of the DVC remote, `path/remote` by default. It is written as an absolute path, so that a clone on
    this machine reads from it.
    """
    root = path.resolve()
    if root.exists() and not root.is_dir():
        raise WorkspaceError("a file is in the way", where=str(path), hint="Name a new folder, or an empty one.")
    storage = (remote or root / "remote").resolve()
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with storage_errors(storage):
        storage.mkdir(parents=True, exist_ok=True)
    if not (root / ".git").exists():
        Git(root).run("init", "--quiet", "--initial-branch=main")
    _ignore(root / ".gitignore")
    workspace = Workspace(root, Settings())
    with workspace.lock(lambda line: None) as (git, dvc):
        if not (root / ".dvc" / "config").exists():
            dvc.init()
        _write_missing(root / ".dvc" / "config", _DVC_CONFIG.format(remote=storage))
        _write_missing(root / ".dvc" / "config.local", _DVC_LOCAL_CONFIG.format(site=root / SITE_CACHE))
        for relative, content in _templates(resources.files("synthmill") / "templates"):
            _write_missing(root / relative, content)
        _commit(root, git)
    return find(root)


def _open(root: Path) -> Workspace:
    for part, made_by in ((".git", "git init"), (".dvc", "dvc init")):
        if not (root / part).exists():
            raise WorkspaceError(
                f"{part} is missing", where=str(root), hint=f"`{made_by}` there, or `synthmill init` again."
            )
    return Workspace(root, read_settings(root))


def _commit(root: Path, git: Git) -> None:
    """One commit of the files of a workspace that HEAD does not hold yet."""
    ours = [".gitignore", ".dvcignore", ".dvc/.gitignore", ".dvc/config"]
    ours += [relative for relative, _ in _templates(resources.files("synthmill") / "templates")]
    parent = git.head()
    new = {name: (root / name).read_bytes() for name in ours if git.read(parent, name) is None}
    if not new:
        return
    git.stage(new)
    git.advance(git.commit(new, parent, "Create a Synthmill workspace"), parent, "create a workspace")


def _ignore(path: Path) -> None:
    """Add our lines to .gitignore where they are missing."""
    text = path.read_text() if path.exists() else ""
    missing = [line for line in _IGNORED if line not in text.splitlines()]
    if missing:
        publish_bytes(path, "\n".join([*text.splitlines(), *missing, ""]).encode())


def _templates(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(relative path, text) of every file that comes with a new workspace."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _templates(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry.read_text()


def _write_missing(path: Path, text: str) -> None:
    if not path.exists() or not path.read_bytes():
        publish_bytes(path, text.encode())
