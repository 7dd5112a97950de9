"""synthmill.toml: the workspace's settings. Every key has a default; an unknown key is an error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from synthmill.errors import WorkspaceError
from synthmill.problems import first_problem

NAME = "synthmill.toml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EngineSettings(_Part):
    """Limits of the engine."""

    workers: int | None = Field(default=None, ge=1, description="actors; default: what the machine or the cluster has")
    device: Literal["cpu", "cuda"] | None = Field(default=None, description="default: cuda where Ray sees GPUs")
    checkpoint_every_s: float = Field(default=10.0, ge=0, description="seconds of a fit that a kill may cost")


class Settings(_Part):
    """The settings of one workspace."""

    state: str = Field(default=".synthmill", description="folder of models, receipts and candidates")
    sources: list[str] = Field(default_factory=list, description="folders outside the workspace that recipes may read")
    author: str = Field(default="Synthmill <synthmill@localhost>", description="of release commits")
    engine: EngineSettings = EngineSettings()

    @field_validator("author")
    @classmethod
    def _is_name_and_address(cls, author: str) -> str:
        if not re.fullmatch(r"[^<>\n]+ <[^<>\s]+>", author):
            raise ValueError("must be NAME <ADDRESS>")
        return author


def read_settings(root: Path) -> Settings:
    """The settings of the workspace at `root`; WorkspaceError names the key that is wrong."""
    path = root / NAME
    try:
        given = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"not valid TOML: {error}", where=str(path)) from error
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problem = first_problem(error, given, Settings)
        known = f"known keys: {', '.join(Settings.model_fields)}"
        raise WorkspaceError(problem.what, where=str(path), hint=problem.hint or known) from None
