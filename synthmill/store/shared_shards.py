"""Staged shards in a bucket: in a folder each shard under its content hash and, sent after it, its sealed receipt START-STOP.json.

A folder is shards/STAGING/MODEL, where MODEL is the hash of the model's files: rows of two fits of one plan, which another machine
may make different to the bit, never mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from synthmill.store.bucket import Bucket
from synthmill.store.files import aside_of, publish_file, storage_errors
from synthmill.store.parcel import side_by_side
from synthmill.store.sealed import seal, unseal
from synthmill.store.staging import Receipt, write_receipt


@dataclass(frozen=True, slots=True)
class SharedShards:
    """All of them. `say` hears what is damaged, `check` is called between files and may raise."""

    bucket: Bucket
    say: Callable[[str], None]
    check: Callable[[], None]

    def receipts(self, folders: Sequence[str]) -> dict[str, list[Receipt]]:
        """The receipts of each folder whose shard is there too; what is damaged is dropped."""
        names = dict(zip(folders, side_by_side(self.bucket.sizes, folders, self.check), strict=True))
        proofs = [f"{folder}/{name}" for folder in folders for name in names[folder] if name.endswith(".json")]
        contents = self.bucket.read_many(proofs)
        found: dict[str, list[Receipt]] = {folder: [] for folder in folders}
        for path, data in contents.items():
            folder = path.rpartition("/")[0]
            receipt = _receipt(data)
            if receipt is None:
                self._drop([path])
            elif receipt.file in names[folder]:
                found[folder].append(receipt)
        return found

    def bring(self, folder: str, receipt: Receipt, staging: Path) -> bool:
        """Have one shard and its receipt in `staging`; one that is damaged is dropped, so that it is made and sent anew."""
        target = staging / f"{receipt.file}.parquet"
        with storage_errors(target):
            staging.mkdir(parents=True, exist_ok=True)
        aside = aside_of(target)
        try:
            if not self.bucket.fetch(f"{folder}/{receipt.file}", aside, receipt.file):
                self._drop([f"{folder}/{_name(receipt)}", f"{folder}/{receipt.file}"])
                return False
            publish_file(aside, target)
        finally:
            aside.unlink(missing_ok=True)
        write_receipt(staging, receipt)
        return True

    def send(self, folder: str, receipt: Receipt, staging: Path) -> None:
        """The shard, and then what proves it."""
        self.bucket.upload(staging / f"{receipt.file}.parquet", f"{folder}/{receipt.file}")
        self.bucket.write(f"{folder}/{_name(receipt)}", seal(asdict(receipt)))

    def _drop(self, names: Iterable[str]) -> None:
        """Remove what is damaged, so that it is made and sent anew; the receipt first, since it proves the shard."""
        for name in names:
            self.say(f"state: {self.bucket.uri}/{name} is damaged: this shard counts as not there")
            self.bucket.remove(name)


def missing(here: Iterable[Receipt], there: Iterable[Receipt], rows: int, *, unique: bool) -> list[Receipt]:
    """What of `there` a stratum needs for `rows` rows beside what is here; all of it where duplicates do not count."""
    own = {(receipt.start, receipt.stop) for receipt in here}
    known = [*here, *(receipt for receipt in there if (receipt.start, receipt.stop) not in own)]
    position, accepted, wanted = 0, 0.0, []
    for receipt in sorted(known, key=lambda r: (r.start, -r.stop)):
        if accepted >= rows and not unique:
            break
        if receipt.stop <= position:
            continue
        new = receipt.stop - max(position, receipt.start)
        accepted += receipt.rows * new / (receipt.stop - receipt.start)
        position = receipt.stop
        if (receipt.start, receipt.stop) not in own:
            wanted.append(receipt)
    return wanted


def _receipt(data: bytes) -> Receipt | None:
    try:
        content = unseal(data)
        return None if content is None else Receipt(**content)
    except TypeError:
        return None


def _name(receipt: Receipt) -> str:
    return f"{receipt.start}-{receipt.stop}.json"
