"""croissant.json of a dataset: Croissant 1.0 with its RAI terms (mlcommons.org/croissant). Deterministic: no date, no version."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from pydantic import JsonValue

from synthmill.columns import PROVENANCE
from synthmill.fingerprint import hash_file
from synthmill.plan import Plan
from synthmill.report.licence import Licence

_TYPES = {
    "double": "sc:Float",
    "int64": "sc:Integer",
    "bool": "sc:Boolean",
    "string": "sc:Text",
    "date32": "sc:Date",
    "timestamp": "sc:DateTime",
    "time64": "sc:Time",
    "image": "sc:ImageObject",
}
# The specification's own context, word for word: readers warn of, or stumble over, any other.
_CONTEXT: dict[str, JsonValue] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def make_croissant(plan: Plan, folder: Path, files: list[Path]) -> str:
    """The files with their hashes, all of them as one set, and one record set of its columns."""
    options = plan.recipe.release
    licence = Licence((options.licence or "").strip())
    content: dict[str, JsonValue] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": plan.recipe.dataset,
        "description": options.description.strip() or f"Synthetic rows of the dataset {plan.recipe.dataset}.",
        "keywords": ["synthetic", "synthmill"],
        "license": licence.url or licence.words or "unknown",
        "rai:dataCollection": "Synthetic: every row was made by a model, none was collected.",
    }
    for key, words in (("rai:dataUseCases", options.intended_use), ("rai:dataLimitations", options.limits)):
        if words.strip():
            content[key] = words.strip()
    fields: list[JsonValue] = [_field(name, kind) for name, kind in _columns(plan)]
    content["distribution"] = [*(_file(path, folder) for path in files), _FILE_SET]
    content["recordSet"] = [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": fields}]
    return json.dumps(content, indent=1) + "\n"


def _columns(plan: Plan) -> list[tuple[str, str]]:
    """(name, Croissant's type) of each released column, provenance last."""
    provenance = [(name, "sc:Integer" if name == "_candidate" else "sc:Text") for name in PROVENANCE]
    return [*((column.name, _TYPES[column.dtype]) for column in plan.released), *provenance]


# Without `containedIn` a set lies in the folder of this file.
_FILE_SET: dict[str, JsonValue] = {
    "@type": "cr:FileSet",
    "@id": "data",
    "name": "data",
    "encodingFormat": "application/x-parquet",
    "includes": "data/*.parquet",
}


def _file(path: Path, folder: Path) -> dict[str, JsonValue]:
    name = path.relative_to(folder).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": path.name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": hash_file(path),
    }


def _field(name: str, kind: str) -> dict[str, JsonValue]:
    """A column; the identifier is an IRI, and so the name is quoted in it. An image is in the bytes of its struct."""
    source: dict[str, JsonValue] = {"fileSet": {"@id": "data"}, "extract": {"column": name}}
    if kind == "sc:ImageObject":
        source["transform"] = {"jsonPath": "bytes"}
    identifier = f"rows/{quote(name, safe='')}"
    return {"@type": "cr:Field", "@id": identifier, "name": name, "dataType": kind, "source": source}
