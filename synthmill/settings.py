"""synthmill.toml: the workspace's settings. Every key has a default; an unknown key is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthmill.errors import WorkspaceError

NAME = "synthmill.toml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EngineSettings(_Part):
    """Limits of the engine."""

    workers: int | None = Field(default=None, ge=1, description="actors; default: what the machine or the cluster has")
    device: str | None = Field(default=None, pattern="^(cpu|cuda)$", description="default: cuda where Ray sees GPUs")


class Settings(_Part):
    """The settings of one workspace."""

    state: str = Field(default=".synthmill", description="folder of models, receipts and candidates")
    sources: list[str] = Field(default_factory=list, description="folders outside the workspace that recipes may read")
    author: str = Field(default="Synthmill <synthmill@localhost>", pattern=r"^[^<>\n]+ <[^<>\s]+>$")
    engine: EngineSettings = EngineSettings()


def read_settings(root: Path) -> Settings:
    """The settings of the workspace at `root`; WorkspaceError names the key that is wrong."""
    path = root / NAME
    try:
        return Settings.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkspaceError(f"not valid TOML: {error}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key, known = ".".join(map(str, first["loc"])), ", ".join(Settings.model_fields)
        raise WorkspaceError(f"{key}: {first['msg']}", where=str(path), hint=f"known keys: {known}") from None
