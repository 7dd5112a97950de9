"""synthmill.toml: the workspace's settings. Every key has a default; an unknown key is an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthmill.errors import WorkspaceError
from synthmill.problems import first_problem

NAME = "synthmill.toml"
LOCAL = ".synthmill"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EngineSettings(_Part):
    """Limits of the engine."""

    workers: int | None = Field(default=None, ge=1, description="actors; default: what the machine or the cluster has")
    device: Literal["cpu", "cuda"] | None = Field(default=None, description="default: cuda where Ray sees GPUs")
    checkpoint_every_s: float = Field(default=10.0, ge=0, description="seconds of a fit that a kill may cost")


class StorageSettings(_Part):
    """How to reach a state on S3. Secrets are never in here: they come from the environment or the profile."""

    endpoint_url: str | None = Field(default=None, description="of a store that is not Amazon's")
    region: str | None = Field(default=None, description="where the bucket lies")
    profile: str | None = Field(default=None, description="of ~/.aws/credentials; default: what the environment says")


class Settings(_Part):
    """The settings of one workspace."""

    state: str = Field(
        default=LOCAL,
        min_length=1,
        description="folder, or URI such as s3://BUCKET/PREFIX, of models, receipts and candidates",
    )
    storage: StorageSettings = StorageSettings()
    sources: list[str] = Field(default_factory=list, description="folders outside the workspace that recipes may read")
    author: str = Field(default="Synthmill <synthmill@localhost>", description="of release commits")
    engine: EngineSettings = EngineSettings()

    @field_validator("author")
    @classmethod
    def _is_name_and_address(cls, author: str) -> str:
        if not re.fullmatch(r"[^<>\n]+ <[^<>\s]+>", author):
            raise ValueError("must be NAME <ADDRESS>")
        return author

    @field_validator("state")
    @classmethod
    def _is_folder_or_uri(cls, state: str) -> str:
        if "://" not in state:
            return state
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", state) or "::" in state:
            raise ValueError("must be a folder, or SCHEME://PLACE")
        return state.rstrip("/")

    @model_validator(mode="after")
    def _options_have_a_store(self) -> Self:
        if self.storage != StorageSettings() and not self.state.startswith("s3://"):
            raise ValueError("[storage] goes with a state on s3://")
        return self

    @property
    def folder(self) -> str:
        """Where work is done: the state itself, or `.synthmill`, a copy of what is used of it, where it is a URI."""
        return LOCAL if self.uri else self.state

    @property
    def uri(self) -> str | None:
        """The state where it is a URI, so that other machines have it too."""
        return self.state if "://" in self.state else None


def read_settings(root: Path) -> Settings:
    """The settings of the workspace at `root`; WorkspaceError names the key that is wrong."""
    path = root / NAME
    try:
        given = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"not valid TOML: {error}", where=str(path)) from error
    if _may_hold_secret(given.get("state")):  # before anything else, whose message would show it
        what = "state must hold no name, password or options"
        raise WorkspaceError(what, where=str(path), hint="credentials come from the environment, or [storage] profile")
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problem = first_problem(error, given, Settings)
        known = f"known keys: {', '.join(Settings.model_fields)}"
        raise WorkspaceError(problem.what, where=str(path), hint=problem.hint or known) from None


def _may_hold_secret(state: object) -> bool:
    return isinstance(state, str) and "://" in state and any(mark in state for mark in "@?#")
