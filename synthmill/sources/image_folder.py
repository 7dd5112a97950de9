"""A folder of images: each file is a row, its label the subfolder it lies in, or a line of one csv in or beside the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from synthmill.columns import IMAGE_TYPE
from synthmill.dtypes import Note, Raw
from synthmill.errors import SourceError
from synthmill.sources.formats import read_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_FILE_COLUMNS = ("file_name", "filename", "file", "path", "image")
_CHUNK_IMAGES = 1024

Check = Callable[[Path], Path]


def read_image_folder(folder: Path, where: str, check: Check) -> Raw:
    """Columns `image` and what is known of each; nothing is decoded yet. `check` refuses a path that leads astray."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder))
    images = [check(path) and path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        hint = f"put images ({', '.join(SUFFIXES)}) or parquet files into it"
        raise SourceError("the folder holds neither images nor parquet files", where=where, hint=hint)
    if (listing := _listing(folder, files)) is not None:
        return _by_listing(folder, where, check(listing), check)
    ignored = len(files) - len(images)
    notes = (Note(f"{ignored:,} files in the folder are no images and were left out"),) if ignored else ()
    labels = [path.parent.relative_to(folder).as_posix() for path in images]
    if any(label == "." for label in labels):
        if set(labels) != {"."}:
            hint = "put every image into the folder of its label, or list them in one csv"
            raise SourceError("some images lie in a label's folder and some beside them", where=where, hint=hint)
        return Raw(pa.table({"image": _images(images, folder, where)}), (*notes, Note("the images have no labels")))
    return Raw(pa.table({"image": _images(images, folder, where), "label": pa.array(labels)}), notes)


def _by_listing(folder: Path, where: str, listing: Path, check: Check) -> Raw:
    place = f"{where}/{listing.name}" if listing.parent == folder else listing.name
    raw = read_file(listing, place)
    named = [name for name in raw.table.column_names if name.lower() in _FILE_COLUMNS]
    if len(named) != 1:
        hint = f"name the column of file names {_FILE_COLUMNS[0]}"
        raise SourceError(f"{len(named)} columns could hold the images' file names", where=place, hint=hint)
    paths = []
    for number, name in enumerate(raw.table[named[0]].to_pylist(), start=1):
        path = check(folder / str(name)) if name is not None else None
        if path is None or not path.is_file():
            raise SourceError(
                f"row {number} names an image that is not there", where=place, hint="paths start at the folder"
            )
        paths.append(folder / str(name))
    if not paths:
        raise SourceError("the csv of the images has no rows", where=place)
    others = raw.table.drop_columns(named)
    if "image" in others.column_names:
        raise SourceError("a column is named image, as that of the images is", where=place, hint="rename it")
    return Raw(others.add_column(0, "image", _images(paths, folder, where)), raw.notes)


def _listing(folder: Path, files: list[Path]) -> Path | None:
    """The one csv in the folder, or the one beside it that bears its name."""
    inside = [path for path in files if path.parent == folder and path.suffix.lower() == ".csv"]
    if len(inside) > 1:
        raise SourceError(
            "the folder holds several csv files", where=folder.name, hint="keep the one that lists the images"
        )
    beside = folder.with_name(f"{folder.name}.csv")
    return inside[0] if inside else beside if beside.is_file() else None


def _images(paths: list[Path], folder: Path, where: str) -> pa.ChunkedArray:
    """Bytes and paths, in chunks, since an Arrow array of binaries ends at 2 GiB."""
    groups = [paths[first : first + _CHUNK_IMAGES] for first in range(0, len(paths), _CHUNK_IMAGES)]
    chunks = [pa.array([_cell(path, folder, where) for path in group], type=IMAGE_TYPE) for group in groups]
    return pa.chunked_array(chunks, type=IMAGE_TYPE)


def _cell(path: Path, folder: Path, where: str) -> dict[str, object]:
    name = path.relative_to(folder).as_posix()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"the image cannot be read: {error.strerror}", where=f"{where}/{name}") from error
    return {"bytes": data, "path": name}


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
