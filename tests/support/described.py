"""The mixed table under a schema that a recipe describes wholly, as private fits need it."""

from support.tables import MIXED

from synthmill.columns import Domain, Schema

DOMAINS = {
    "age": Domain(bounds=(18, 80)),
    "income": Domain(bounds=(0.0, 12_000.0), decimals=2),
    "city": Domain(values=("Oslo", "Pisa", "Riga", "Rome")),
    "member": Domain(values=(False, True)),
    "since": Domain(bounds=("1997-01-01", "2026-01-01")),
}
DESCRIBED = Schema(
    columns=tuple(column.model_copy(update={"domain": DOMAINS[column.name]}) for column in MIXED), target=MIXED.target
)
