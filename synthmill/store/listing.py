"""Releases as a person compares them: rows, headline scores, stages, size, and which are yanked. A few git processes for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from synthmill.errors import RecipeError, WorkspaceError
from synthmill.recipe_file import read_recipe
from synthmill.store.git import Git
from synthmill.store.references import find_stages
from synthmill.store.stage import Stage, read_recipe_path
from synthmill.store.stage_tags import NO_TAGS, StageTags, read_stage_tags
from synthmill.store.versions import Release, read_releases

_HEADLINES = 3
_USUAL = ("fidelity/c2st", "utility/tstr")  # of a recipe without gates


@dataclass(frozen=True, slots=True)
class Listed:
    """One release and what was said of it since; `reason` says why it is yanked, where it is."""

    release: Release
    stages: tuple[str, ...]
    reason: str | None
    headlines: Mapping[str, float]  # score -> value
    size_bytes: int | None  # None for a tag that Synthmill did not make

    def fields(self) -> dict[str, object]:
        """For `--json`: what metrics/NAME.json holds, and all of this."""
        return {
            **self.release.metrics,
            "tag": self.release.tag,
            "dataset": self.release.dataset,
            "version": str(self.release.version),
            "date": self.release.date,
            "commit": self.release.commit,
            "stages": list(self.stages),
            "yanked": self.reason,
            "headlines": dict(self.headlines),
            "size_bytes": self.size_bytes,
        }


def list_releases(git: Git, dataset: str | None = None) -> list[Listed]:
    """Every release of one dataset, or of all, by name and version."""
    releases, tags = read_releases(git, dataset), read_stage_tags(git, dataset)
    locks = git.read_many([f"{release.commit}:dvc.lock" for release in releases])
    sizes = {
        release.tag: _size(content, release.dataset)
        for release, content in zip(releases, locks, strict=True)
        if content
    }
    found: list[Listed] = []
    for name, group in groupby(releases, key=lambda release: release.dataset):
        found += _of_dataset(git, list(group), tags.get(name, NO_TAGS), sizes)
    return found


def _of_dataset(
    git: Git, releases: Sequence[Release], tags: StageTags, sizes: Mapping[str, int | None]
) -> Iterable[Listed]:
    names, stages = _headline_names(git, releases[-1]), find_stages(tags, releases)
    for release in releases:
        inside = tuple(stage for stage, version in stages.items() if version == release.version)
        headlines = _values(release, names)
        yield Listed(release, inside, tags.yanked.get(release.version), headlines, sizes.get(release.tag))


def _headline_names(git: Git, last: Release) -> Sequence[str]:
    """The scores of the gates of the last released recipe, so that all versions of a dataset are compared by the same."""
    try:
        path = read_recipe_path((git.read(last.commit, "dvc.yaml") or b"").decode(), last.dataset)
        content = None if path is None else git.read(last.commit, path)
        gates = read_recipe(content, Path(path)).gates_by_key if path is not None and content is not None else ()
    except (RecipeError, WorkspaceError):  # a format that is no longer read, or a tag made by hand
        gates = ()
    return list(dict.fromkeys(score for _, score, _ in gates)) or _USUAL


def _values(release: Release, names: Sequence[str]) -> dict[str, float]:
    scores = release.metrics.get("scores")
    entries = scores if isinstance(scores, Mapping) else {}
    values = {name: _value(entries[name]) for name in names if name in entries}
    return dict([(name, value) for name, value in values.items() if value is not None][:_HEADLINES])


def _value(entry: object) -> float | None:
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return float(value) if isinstance(value, int | float) else None


def _size(lock: bytes, dataset: str) -> int | None:
    """What dvc.lock says of the folder; read by libyaml, because a thousand releases are as many files."""
    try:
        outs = YAML(typ="safe").load(lock)["stages"][dataset]["outs"]
        [size] = [out["size"] for out in outs if out["path"] == Stage(dataset, "", ()).out]
    except (YAMLError, KeyError, TypeError, ValueError):
        return None
    return int(size)
