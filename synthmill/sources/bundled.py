"""Data that comes inside scikit-learn and statsmodels, so that the examples and tests need no network."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pyarrow as pa

from synthmill.columns import IMAGE_TYPE
from synthmill.errors import SourceError
from synthmill.pixels import encode_png

_SKLEARN = ("breast_cancer", "diabetes", "digits", "iris", "wine")
_NO_DATA = ("template_data", "tests")


def read_bundled(uri: str) -> pa.Table:
    """`sklearn:NAME` or `statsmodels:NAME`; a name that is not among them is a SourceError that lists them."""
    package, _, name = uri.partition(":")
    names = _SKLEARN if package == "sklearn" else _statsmodels_names()
    if name not in names:
        raise SourceError(f"{package} brings no such data", where=uri, hint=f"there are: {', '.join(names)}")
    if name == "digits":
        return _digits()
    return _sklearn(name) if package == "sklearn" else _statsmodels(name)


def _digits() -> pa.Table:
    """1,797 grey images of 8 x 8 as PNG; the ink, 0 to 16, is spread over 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (rows, 8, 8)
    cells = [{"bytes": encode_png(image), "path": None} for image in pixels]
    return pa.table({"image": pa.array(cells, type=IMAGE_TYPE), "label": pa.array(digits.target, pa.int64())})


def _sklearn(name: str) -> pa.Table:
    """Features and `target`; classes by their names."""
    datasets = importlib.import_module("sklearn.datasets")
    loaded = getattr(datasets, f"load_{name}")()
    columns = {str(feature): pa.array(loaded.data[:, i]) for i, feature in enumerate(loaded.feature_names)}
    is_classes = "target_names" in loaded
    return pa.table(
        {**columns, "target": pa.array(loaded.target_names[loaded.target] if is_classes else loaded.target)}
    )


def _statsmodels_names() -> tuple[str, ...]:
    datasets = importlib.import_module("statsmodels.datasets")
    return tuple(m.name for m in pkgutil.iter_modules(datasets.__path__) if m.ispkg and m.name not in _NO_DATA)


def _statsmodels(name: str) -> pa.Table:
    """The data set's frame; the statsmodels in use decides what it holds."""
    frame = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.replace_schema_metadata(None)
