"""The workspace's secret: drawn once from the system's entropy, kept in state, never released, so that private fits can be made again."""

from __future__ import annotations

import os
from contextlib import suppress

from synthmill.errors import StorageError
from synthmill.plan import ModelPlan
from synthmill.privacy import Secret
from synthmill.store.files import aside_of, storage_errors, sync_folder
from synthmill.store.state import State


def read_secret(state: State) -> Secret:
    """The secret of this state; the first plan draws it, a dry run's too as its fingerprint needs it, and two at once get the same."""
    path = state.secret
    if not path.exists():
        _draw(state)
    with storage_errors(path):
        secret = Secret(path.read_bytes())
    if len(secret.key) != len(Secret.fresh().key):
        hint = "bring it back from a backup; without it private models are fitted anew, and spend their epsilon again"
        raise StorageError("the secret of private fits is broken", where=str(path), hint=hint)
    return secret


def noise_key(state: State, model: ModelPlan, device: str) -> bytes | None:
    """What the noise of a model fitted on `device`, cpu or cuda, comes from; None for one that promises no privacy."""
    return read_secret(state).noise_key(model.fingerprint, device) if model.is_private else None


def _draw(state: State) -> None:
    path, aside = state.secret, aside_of(state.secret)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.touch(mode=0o600, exist_ok=False)
            with aside.open("wb") as file:
                file.write(Secret.fresh().key)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(aside)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)
