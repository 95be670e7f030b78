"""Which columns a table has, and of which types: from the headers of a sample of its files, and from the settings."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from fivetran_connector_sdk import Logging as log

from batches import Target
from catalogue import Catalogue
from content import File, FileProblem
from inference import Inference
from opening import readers
from places import Place, open_place
from service_spec import FILE, LINE, Settings, TableSpec
from shared.fan_out import FanOut
from shared.metrics import Metrics
from shared.naming import folded_name
from shared.values import UNDECLARED, ColumnType

# New columns come with new files, so most of the files looked at are new ones.
NEWEST, EVENLY = 50, 50
_WHOLE = ("SHORT", "INT", "LONG")
_LONG_DIGITS = 19


@lru_cache(maxsize=1)
def declared_tables(settings: Settings) -> Mapping[str, Target]:
    """The tables by name, as `schema()` declares them.

    Kept from there to `update()`: a column that appears in between would else be delivered without a declared type.
    `schema()` clears it first.
    """
    with open_place(settings) as place:
        return {spec.name: _target(settings, spec, place) for spec in settings.table_specs}


def _target(settings: Settings, spec: TableSpec, place: Place) -> Target:
    columns: dict[str, ColumnType] = {FILE: "STRING", LINE: "LONG"}
    if spec.is_raw:
        return Target({FILE: "STRING", "_size": "LONG"})
    with Catalogue(place.files(spec.patterns)) as catalogue:
        for found in _of_files(settings, place, catalogue.sample(NEWEST, EVENLY)):
            columns = merged(columns, found)
        first = catalogue.first()
        if settings.infer_types and first:
            columns |= _inferred(settings, place, spec, first, columns)
    columns = _told_apart(columns)
    unused = tuple(name for name in spec.types if name not in columns)
    return Target({**columns, **spec.types, UNDECLARED: "JSON"}, unused)


def _told_apart(columns: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    """The columns without those that would become one with another in the destination, or have no name there.

    Their values go to `_undeclared`, and are told.
    """
    found: dict[str, str] = {folded_name(UNDECLARED): UNDECLARED}
    for name in columns:
        found.setdefault(folded_name(name), name)
    return {name: type_ for name, type_ in columns.items() if folded_name(name) and found[folded_name(name)] == name}


def _of_files(settings: Settings, place: Place, files: list[File]) -> Iterable[Mapping[str, ColumnType]]:
    """The columns of each file; none of one that cannot be read, which `update()` tells."""

    def look(file: File) -> Mapping[str, ColumnType]:
        columns: dict[str, ColumnType] = {}
        try:
            for reader in readers(place.content(file), settings):
                columns = merged(columns, reader.columns)
        except FileProblem as problem:
            log.info(f"a file whose columns cannot be known: {problem}")
        return columns

    with FanOut(settings.files_at_once, Metrics()) as fan_out:
        for _, columns in fan_out.in_order(files, look):
            yield columns()


def _inferred(
    settings: Settings, place: Place, spec: TableSpec, file: File, columns: Mapping[str, ColumnType]
) -> dict[str, ColumnType]:
    """The types that all values of a file's text columns have; the whole file is read for it."""
    inference = Inference()
    target = Target({**dict.fromkeys(columns, "STRING"), LINE: "LONG", UNDECLARED: "JSON"})
    texts: set[str] = set()
    try:
        for reader in readers(place.content(file), settings):
            of_reader = [name for name, type_ in reader.columns.items() if type_ == "STRING"]
            texts.update(of_reader)
            for batch in reader.batches(target):
                inference.add([{name: record.get(name) for name in of_reader} for record in batch.records])
    except FileProblem as problem:
        raise FileProblem(
            f"types cannot be inferred from the first file: {problem}. Correct it, or declare the types in the setting "
            "columns and set infer_types to false"
        ) from None
    types = {name: type_ for name, type_ in inference.types().items() if name in texts}
    said = "; ".join(f"{spec.name}.{name} = {written(type_)}" for name, type_ in types.items() if type_ != "STRING")
    log.info(f"types inferred from {file.name}, for the setting columns: {said or 'all columns are text'}")
    return types


def written(column_type: ColumnType) -> str:
    """A type as it is written in the setting `columns`."""
    if isinstance(column_type, str):
        return column_type
    return f"DECIMAL({column_type['precision']},{column_type['scale']})"


def merged(one: Mapping[str, ColumnType], other: Mapping[str, ColumnType]) -> dict[str, ColumnType]:
    """The columns of both; one that has two types gets the type that holds the values of both, text if need be.

    >>> merged({"a": "INT", "b": "LONG"}, {"a": "LONG", "b": "STRING", "c": "DOUBLE"})
    {'a': 'LONG', 'b': 'STRING', 'c': 'DOUBLE'}
    """
    columns = dict(one)
    for name, type_ in other.items():
        columns[name] = _common(columns[name], type_) if name in columns else type_
    return columns


def _common(one: ColumnType, other: ColumnType) -> ColumnType:
    if one == other:
        return one
    if isinstance(one, str) and isinstance(other, str):
        return max(one, other, key=_WHOLE.index) if {one, other} <= set(_WHOLE) else "STRING"
    sides = [_as_decimal(one), _as_decimal(other)]
    if None in sides:
        return "STRING"
    whole, scale = (max(values) for values in zip(*filter(None, sides), strict=True))
    return {"type": "DECIMAL", "precision": whole + scale, "scale": scale} if whole + scale <= 38 else "STRING"


def _as_decimal(column_type: ColumnType) -> tuple[int, int] | None:
    """Digits before and after the point; None for what is no whole number or decimal."""
    if isinstance(column_type, str):
        return (_LONG_DIGITS, 0) if column_type in _WHOLE else None
    return column_type["precision"] - column_type["scale"], column_type["scale"]
