"""The state that machines share, where the settings name a URI: what is finished lies there by fingerprint.

    models/FINGERPRINT/          parcels (parcel.py): a folder of the local state, whole, proven by its listing
    sources/FINGERPRINT/
    candidates/PLAN/
    shards/STAGING/MODEL/        shards and receipts (shared_shards.py)
    measurements/SOURCE/         what one run measured, sealed and named by its hash
    answers/                     kept for paid answers: each sealed, by fingerprint

Work is done in the local state, which is a copy of what it used and made: a run brings in what it lacks before it works, and what it
finishes is sent while it goes on. Only drivers do either. Locks, SQLite, checkpoints and the secret of private fits stay where they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from synthmill.console import size
from synthmill.errors import Interrupted
from synthmill.plan import JobPlan
from synthmill.store.bucket import PATIENCE_S, Bucket, open_bucket, patient
from synthmill.store.files import publish_bytes
from synthmill.store.models import RECEIPT, ModelReceipt, read_receipt
from synthmill.store.parcel import LISTING, Parcel, side_by_side
from synthmill.store.sealed import seal, unseal
from synthmill.store.sending import Sender
from synthmill.store.shared_shards import SharedShards, missing
from synthmill.store.staging import Receipt, claimed_receipts
from synthmill.store.state import State
from synthmill.store.workspace import Workspace

Say = Callable[[str], None]

_PARCELS = ("models", "sources", "candidates")
_HERE_ALONE = ("settled.json",)  # how a candidate left quarantine in this workspace
_MEASUREMENT = re.compile(r"[0-9a-f]{32}\.json")
_GRACE_S = 5.0


class Shared:
    """The local state's counterpart; without a bucket there is none, and every method does nothing."""

    def __init__(self, state: State, bucket: Bucket | None, say: Say, should_stop: Callable[[], bool]) -> None:
        self._state, self._bucket, self._say, self._should_stop = state, bucket, say, should_stop
        self._sender = Sender(PATIENCE_S)
        self._outbox = None if bucket is None else replace(bucket, again=self._sender.again)

    # folders: models, sources, candidates -----------------------------------------------------------------------------

    def has(self, folder: Path) -> bool:
        """Whether a folder of the local state is there too."""
        return self._bucket is not None and self._parcel(self._bucket, folder).is_there

    def bring(self, folder: Path) -> bool:
        """Have a folder of the local state as it is there; False where it is not, or is damaged and so dropped."""
        if self._bucket is None or not self._parcel(self._bucket, folder).bring(folder):
            return False
        self._say(f"state: {_words(folder)} brought in, {size(_size(folder))}")
        return True

    def bring_missing(self, folder: Path) -> None:
        """The same, where it is not here."""
        if not folder.is_dir():
            self.bring(folder)

    def send(self, folder: Path) -> None:
        """Have a folder of the local state, which does not change any more, there too; soon."""
        if self._outbox is not None:
            parcel = self._parcel(self._outbox, folder)
            self._sender.send(lambda: parcel.send(folder, leave_out=_HERE_ALONE), self._check)

    def share(self, folder: Path) -> None:
        """Have it on both sides, where it is on one."""
        if folder.is_dir():
            self.send(folder)
        else:
            self.bring(folder)

    def forget(self, folders: Iterable[Path]) -> None:
        """Remove folders of the local state there for good; what others need of them they make again."""
        if self._bucket is None:
            return
        for folder in folders:
            name = folder.relative_to(self._state.root).as_posix()
            if name.partition("/")[0] not in (*_PARCELS, "shards"):
                continue
            files = sorted(self._bucket.sizes(name), key=lambda file: file != LISTING)  # which says that all is there
            for file in files:
                self._bucket.remove(f"{name}/{file}")
            if files:
                self._say(f"state: {_words(folder)} removed from {self._bucket.uri}")

    def model_receipt(self, fingerprint: str) -> ModelReceipt | None:
        """What a model there says of itself; nothing else is brought in."""
        if self._bucket is None:
            return None
        parcel = self._parcel(self._bucket, self._state.model(fingerprint))
        sha256 = (parcel.listing() or {}).get(RECEIPT)
        with TemporaryDirectory(prefix="synthmill-") as name:
            is_whole = sha256 is not None and parcel.fetch(sha256, Path(name) / RECEIPT)
            return read_receipt(Path(name)) if is_whole else None

    def _parcel(self, bucket: Bucket, folder: Path) -> Parcel:
        name = folder.relative_to(self._state.root).as_posix()
        assert name.partition("/")[0] in _PARCELS, "nothing else of the state leaves it"
        return Parcel(bucket, name, self._say, self._check)

    # shards -----------------------------------------------------------------------------------------------------------

    def bring_shards(self, job: JobPlan, model_sha256: str, *, unique: bool) -> None:
        """Have what a job needs of the shards there, and see that those which were left unsent are sent."""
        wanted: list[tuple[str, Receipt, Path]] = []
        for staging, there in self.staged(job, model_sha256).items():
            folder, here = self._state.staging(staging), claimed_receipts(self._state.staging(staging))
            place, ranges = _place(staging, model_sha256), {(receipt.start, receipt.stop) for receipt in there}
            rows = next(stratum.rows for stratum in job.strata if stratum.staging == staging)
            wanted += [(place, receipt, folder) for receipt in missing(here, there, rows, unique=unique)]
            for receipt in here:
                if (receipt.start, receipt.stop) not in ranges:
                    self.send_shard(folder, receipt, model_sha256)
        if wanted:
            assert self._bucket is not None, "only there something can be wanted"
            shards = SharedShards(self._bucket, self._say, self._check)
            brought = side_by_side(lambda one: shards.bring(*one), wanted, self._check)
            self._say(f"state: {sum(brought):,} shards of jobs.{job.index} brought in")

    def staged(self, job: JobPlan, model_sha256: str) -> dict[str, list[Receipt]]:
        """The receipts there, by staging; empty without a bucket."""
        if self._bucket is None:
            return {}
        places = {_place(stratum.staging, model_sha256): stratum.staging for stratum in job.strata if stratum.rows}
        found = SharedShards(self._bucket, self._say, self._check).receipts(list(places))
        return {places[place]: receipts for place, receipts in found.items()}

    def send_shard(self, folder: Path, receipt: Receipt, model_sha256: str) -> None:
        """Have a shard that was made there too; soon. One that was given up is made anew by the next run, and stays."""
        if self._outbox is not None and receipt.file:
            shards = SharedShards(self._outbox, self._say, self._check)
            place = _place(folder.name, model_sha256)
            self._sender.send(lambda: shards.send(place, receipt, folder), self._check)

    # measurements -----------------------------------------------------------------------------------------------------

    def bring_measurements(self, source: str) -> None:
        """Have everything that was measured of a source."""
        if self._bucket is None:
            return
        folder = f"measurements/{source}"
        names = [f"{folder}/{name}" for name in self._bucket.sizes(folder)]
        for name, data in self._bucket.read_many(names).items():
            found = unseal(data)
            if found is None:
                self._say(
                    f"state: {self._bucket.uri}/{name} is damaged; it is dropped, and measured anew where it is needed"
                )
                self._bucket.remove(name)
            for own, text in (found or {}).items():
                path = self._state.measurements / own
                if _MEASUREMENT.fullmatch(own) and not path.exists():
                    publish_bytes(path, str(text).encode())

    def send_measurements(self, source: str, paths: Iterable[Path]) -> None:
        """Have what a run measured there too; soon."""
        found = {path.name: path.read_text() for path in paths}
        if self._outbox is not None and found:
            outbox, data = self._outbox, seal(found)
            name = f"measurements/{source}/{hashlib.sha256(data).hexdigest()}.json"
            self._sender.send(lambda: outbox.write(name, data), self._check)

    # waiting ----------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Wait until all is sent; StorageError where it cannot be, Interrupted."""
        self._sender.drain(self._check, self._say)

    def close(self) -> None:
        """Send no more; after a run that failed, a few seconds are left to what waits."""
        if left := self._sender.close(_GRACE_S):
            self._say(f"state: {left:,} finished things were not sent; the next run here sends them")

    def _check(self) -> None:
        if self._should_stop():
            raise Interrupted("stopped while the state was read or sent", hint="run again to go on")


def open_shared(
    workspace: Workspace,
    say: Say = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    is_dry: bool = False,
) -> Shared:
    """What the workspace's settings name; with `is_dry` nothing is changed there, not even what is damaged.

    StorageError where it cannot be read, WorkspaceError where nothing here knows its scheme.
    """
    state, uri = State(workspace.state), workspace.settings.uri
    if uri is None:
        return Shared(state, None, say, should_stop)

    def check() -> None:
        if should_stop():
            raise Interrupted("stopped while the state did not answer", hint="run again to go on")

    bucket = open_bucket(uri, workspace.settings.storage, patient(PATIENCE_S, check), is_read_only=is_dry)
    bucket.check()
    return Shared(state, bucket, say, should_stop)


def _place(staging: str, model_sha256: str) -> str:
    return f"shards/{staging}/{model_sha256[:32] or 'none'}"


def _words(folder: Path) -> str:
    return f"{folder.parent.name.removesuffix('s')} {folder.name[:12]}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
