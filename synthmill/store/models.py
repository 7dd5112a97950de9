"""Fitted models in state: files/ and the receipt that proves them, under the model's fingerprint."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from synthmill.generator import FitReport, Privacy
from synthmill.store.files import aside_of, publish_folder, publish_json, storage_errors
from synthmill.store.staging import Level

RECEIPT = "receipt.json"


class ModelReceipt(BaseModel):
    """How a model came about. A fit that a time budget ended says so by its steps and `stopped_by`, a private one what it spent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    generator: str
    sha256: str
    steps: int
    stopped_by: str
    losses: tuple[tuple[int, float], ...]
    seconds: float
    train_rows: int
    level: Level
    privacy: Privacy | None = None


def write_model(
    folder: Path,
    files: Mapping[str, bytes],
    report: FitReport,
    *,
    fingerprint: str,
    generator: str,
    train_rows: int,
    seconds: float,
    level: Level,
) -> ModelReceipt:
    """Publish a model: it is there whole, or not at all."""
    receipt = ModelReceipt(
        fingerprint=fingerprint,
        generator=generator,
        sha256=hash_files(files),
        steps=report.steps,
        stopped_by=report.stopped_by,
        losses=report.losses,
        seconds=round(seconds, 1),
        train_rows=train_rows,
        level=level,
        privacy=report.privacy,
    )
    aside = aside_of(folder)
    with storage_errors(folder):
        try:
            for name, data in files.items():
                path = aside / "files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            publish_json(aside / RECEIPT, receipt.model_dump(mode="json"))
            publish_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return receipt


def read_model(folder: Path) -> tuple[ModelReceipt, dict[str, bytes]] | None:
    """A model with its files; None where there is none, or where its files are not what the receipt says: it is fitted anew."""
    try:
        receipt = ModelReceipt.model_validate_json((folder / RECEIPT).read_bytes())
    except (FileNotFoundError, ValidationError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    root = folder / "files"
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    if hash_files(files) != receipt.sha256:
        shutil.rmtree(folder)
        return None
    return receipt, files


def read_receipt(folder: Path) -> ModelReceipt | None:
    """What a model says of itself, its files not looked at; None where there is none."""
    try:
        return ModelReceipt.model_validate_json((folder / RECEIPT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def claimed_hash(folder: Path) -> str:
    """The hash of a model's files as its receipt has it; "" where there is none, as of a generator that is not fitted."""
    receipt = read_receipt(folder)
    return "" if receipt is None else receipt.sha256


def receipts(models: Path) -> list[ModelReceipt]:
    """The receipts of all models in a state folder; what cannot be read is left out."""
    found = []
    for path in sorted(models.glob(f"*/{RECEIPT}")):
        try:
            found.append(ModelReceipt.model_validate(json.loads(path.read_text())))
        except (ValueError, ValidationError):
            continue
    return found


def hash_files(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, in name order."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()
