"""The one stage of a dataset, as text: in dvc.yaml, which people edit, and in dvc.lock, which DVC writes.

Every function takes the text of a whole file and gives it back with one dataset's stage replaced; comments, order and the
stages of others stay. So a commit can hold HEAD's file with our stage alone in it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from synthmill.errors import WorkspaceError

_SMALL = {"cache": False, "persist": True}  # in git itself
_PLOTS: Mapping[str, Mapping[str, str]] = {
    "scores": {"x": "value", "y": "score", "title": "Scores", "template": "bar_horizontal"},
    "columns": {"x": "shape", "y": "column", "title": "Shape of each column", "template": "bar_horizontal"},
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What dvc.yaml says of a dataset; all paths are relative to the workspace."""

    dataset: str
    recipe: str
    deps: tuple[str, ...]
    has_plots: bool = True  # False for a release that was made before there were any

    @property
    def out(self) -> str:
        """The dataset's folder."""
        return f"datasets/{self.dataset}"

    @property
    def metric(self) -> str:
        """The scores, in git and not in DVC's cache."""
        return f"metrics/{self.dataset}.json"

    @property
    def plots(self) -> dict[str, str]:
        """Tables for `dvc plots`, in git as well: what each shows -> its path."""
        return {name: f"metrics/{self.dataset}-{name}.csv" for name in _PLOTS} if self.has_plots else {}

    def fields(self) -> dict[str, object]:
        """The stage as DVC reads it. `persist`: DVC would delete the out before it runs the command, which may miss a gate."""
        plots = [{path: {**_SMALL, **_PLOTS[name]}} for name, path in self.plots.items()]
        return {
            "cmd": f"synthmill run {self.recipe} --place",
            "deps": list(dict.fromkeys((self.recipe, *self.deps))),
            "outs": [{self.out: {"persist": True}}],
            "metrics": [{self.metric: dict(_SMALL)}],
            **({"plots": plots} if plots else {}),
        }


def write_stage(text: str, stage: Stage) -> str:
    """The text of dvc.yaml with this stage and its artifact in it; the same text where they already are."""
    document = _load(text, "dvc.yaml")
    wanted: dict[tuple[str, str], dict[str, object]] = {
        ("stages", stage.dataset): stage.fields(),
        ("artifacts", stage.dataset): {"path": stage.out, "type": "dataset"},
    }
    is_changed = False
    for (section, name), fields in wanted.items():
        entry = _child(_child(document, section), name)
        for key, value in fields.items():
            if entry.get(key) != value:
                entry[key] = value
                is_changed = True
    if not is_changed:
        return text
    # ruamel keeps no comment of a file that holds nothing else
    return text + _dump(document) if text.strip() and _is_empty(text) else _dump(document)


def read_entry(text: str, dataset: str) -> Mapping[str, object] | None:
    """The dataset's entry in the text of dvc.lock, as plain values."""
    entry = (_load(text, "dvc.lock").get("stages") or {}).get(dataset)
    return None if entry is None else _plain_map(entry)


def write_entry(text: str, dataset: str, entry: Mapping[str, object]) -> str:
    """The text of dvc.lock with the dataset's entry replaced."""
    if read_entry(text, dataset) == entry:
        return text
    document = _load(text, "dvc.lock")
    document.setdefault("schema", "2.0")
    _child(document, "stages")[dataset] = entry
    return _dump(document)


def drop_entry(text: str, file: str, dataset: str) -> str:
    """The text of `file`, dvc.lock or dvc.yaml, without the dataset's stage and artifact; the same text where there is neither."""
    document = _load(text, file)
    found = [section for section in ("stages", "artifacts") if dataset in (document.get(section) or {})]
    for section in found:
        del document[section][dataset]
        if not document[section]:
            del document[section]
    if not found:
        return text
    return _dump(document) if document else ""


def read_recipe_path(text: str, dataset: str) -> str | None:
    """The recipe that the text of dvc.yaml names for a dataset: the first thing that its stage depends on."""
    stage = (_load(text, "dvc.yaml").get("stages") or {}).get(dataset)
    deps = stage.get("deps") if isinstance(stage, Mapping) else None
    return str(deps[0]) if isinstance(deps, list) and deps else None


def read_address(text: str, dataset: str) -> str | None:
    """The content address that dvc.lock holds for the dataset's folder."""
    outs = (read_entry(text, dataset) or {}).get("outs")
    folder = Stage(dataset, "", ()).out
    found = [out for out in outs if out["path"] == folder] if isinstance(outs, list) else []
    return str(found[0]["md5"]) if found else None


def read_outs(text: str, file: str) -> set[str]:
    """The content addresses of everything that a dvc.lock or .dvc file says is made or tracked."""
    document = _load(text, file)
    owners = [document, *(document.get("stages") or {}).values()] if file.endswith("dvc.lock") else [document]
    outs = [out for owner in owners for out in owner.get("outs") or []]
    return {str(out["md5"]) for out in outs if "md5" in out}


def say_the_same(one: str, other: str) -> bool:
    """Whether two texts of one file differ in comments and layout at most."""
    return bool(_load(one, "dvc.yaml") == _load(other, "dvc.yaml"))


def merge_stages(base: str, theirs: str, mine: str, file: str) -> str:
    """`mine` with what `theirs` has changed since `base`, stage by stage; `theirs` itself where that says the same.

    What both have changed stays mine where Synthmill wrote it (a dataset that is placed here and not released yet). Else it is a
    WorkspaceError that names it.
    """
    if mine in (base, theirs):
        return theirs
    old, new, merged = (_load(text, file) for text in (base, theirs, mine))
    for section in {*old, *new} - {"stages", "artifacts"}:
        _merge_key(old, new, merged, section, file)
    for section in ("stages", "artifacts"):
        was, will = (document.get(section) or {} for document in (old, new))
        for name in {**was, **will}:
            _merge_key(was, will, _child(merged, section), name, f"{file}: {section}.{name}")
        if section in merged and not merged[section]:
            del merged[section]
    text = _dump(merged)
    return theirs if say_the_same(text, theirs) else text


def _merge_key(
    old: Mapping[str, object], new: Mapping[str, object], merged: CommentedMap, key: str, where: str
) -> None:
    was, will, mine = old.get(key), new.get(key), merged.get(key)
    if will in (was, mine):
        return
    if mine == was:
        merged[key] = will
        if will is None:
            del merged[key]
    elif not _is_ours(where, mine):
        raise WorkspaceError("changed here and on the git remote", where=where, hint="commit or undo it, and run again")


def _is_ours(where: str, entry: object) -> bool:
    """An entry of dvc.lock, or a stage or artifact of a dataset."""
    if where.startswith("dvc.lock") or entry is None or not isinstance(entry, Mapping):
        return where.startswith("dvc.lock")
    return str(entry.get("cmd", "")).startswith("synthmill run ") or entry.get("type") == "dataset"


def _yaml() -> YAML:
    yaml = YAML()  # the round-trip loader: safe, and keeps comments
    yaml.preserve_quotes = True
    yaml.width = 4096  # a folded command is hard to read and to diff
    return yaml


def _load(text: str, file: str) -> CommentedMap:
    try:
        document = _yaml().load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        raise WorkspaceError("the file is no valid YAML", where=where, hint="Mend it and run again.") from error
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        raise WorkspaceError("the file is no mapping of keys", where=file, hint="`git checkout` it and run again.")
    return document


def _dump(document: CommentedMap) -> str:
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue()


def _child(parent: CommentedMap, key: str) -> CommentedMap:
    if parent.get(key) is None:
        parent[key] = CommentedMap()
    child = parent[key]
    if not isinstance(child, CommentedMap):
        raise WorkspaceError(f"`{key}` is no mapping", where="dvc.yaml", hint="Mend it and run again.")
    return child


def _is_empty(text: str) -> bool:
    return _yaml().load(text) is None


def _plain_map(value: Mapping[str, object]) -> dict[str, object]:
    return {str(key): _plain(item) for key, item in value.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return _plain_map(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    return value
