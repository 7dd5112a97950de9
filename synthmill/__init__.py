"""Synthmill: a recipe in, a released synthetic dataset out. Third parties import from here alone; training jobs take `load`.

Names are loaded when they are used, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthmill.codecs.base import Codec
    from synthmill.columns import Column, Schema
    from synthmill.errors import FitError, GateMissed, InputError, RecipeError, RunError, SourceError, SynthmillError
    from synthmill.evaluator import Evaluator, Measured, Measurement, Reference, References, Score
    from synthmill.generator import (
        FitReport,
        Generator,
        Params,
        Sampled,
        SampleRequest,
        TrainData,
        sampling,
    )
    from synthmill.loaded import Loaded, YankedRelease, load
    from synthmill.seeds import normals, uniforms

_HOMES = {
    "codecs.base": ["Codec"],
    "columns": ["Column", "Schema"],
    "errors": ["FitError", "GateMissed", "InputError", "RecipeError", "RunError", "SourceError", "SynthmillError"],
    "evaluator": ["Evaluator", "Measured", "Measurement", "Reference", "References", "Score"],
    "generator": ["FitReport", "Generator", "Params", "SampleRequest", "Sampled", "TrainData", "sampling"],
    "loaded": ["Loaded", "YankedRelease", "load"],
    "seeds": ["normals", "uniforms"],
}
_HOME_OF = {name: f"synthmill.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "Codec",
    "Column",
    "Evaluator",
    "FitError",
    "FitReport",
    "GateMissed",
    "Generator",
    "InputError",
    "Loaded",
    "Measured",
    "Measurement",
    "Params",
    "RecipeError",
    "Reference",
    "References",
    "RunError",
    "SampleRequest",
    "Sampled",
    "Schema",
    "Score",
    "SourceError",
    "SynthmillError",
    "TrainData",
    "YankedRelease",
    "load",
    "normals",
    "sampling",
    "uniforms",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'synthmill' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
