"""The column that fairness looks at."""

from __future__ import annotations

from synthmill.columns import Column
from synthmill.errors import SourceError
from synthmill.evaluator import References
from synthmill.features import measurable


def protected_of(references: References) -> Column:
    """SourceError where the recipe names no column, none of the source, or one that has no groups."""
    name = references.protected
    hint = "name the column whose groups are compared"
    if name is None:
        raise SourceError("fairness needs a protected column", where="source.protected", hint=hint)
    found = [column for column in measurable(references.schema.columns) if column.name == name]
    if not found:
        what = "has no groups: it is an id, a text or an image" if name in references.schema else "is no column"
        raise SourceError(f"{name} {what}", where="source.protected", hint=hint)
    return found[0]
