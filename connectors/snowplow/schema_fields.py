"""The JSON Schemas of data structures, and their fields: one row for each property at any depth."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from fivetran_connector_sdk import Operations as op

from shared.pages import Record

_TOLD_APART = re.compile(r"[.\[\]\\]")


class SchemaFields:
    """Makes records of schemas and of their fields, of which at most so many are delivered. Lives inside one sync."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._told = False

    def version(self, schema: Record) -> Record:
        """The record of one version of a schema: what it calls itself, its whole body, and how many fields it has."""
        itself = schema.get("self") or {}
        name = {part: itself.get(part) for part in ("vendor", "name", "format", "version")}
        count = sum(1 for _ in fields(schema))
        left_out = max(0, count - self._most)
        if left_out and not self._told:
            self._told = True
            op.warning(
                f"schema_fields: {'/'.join(map(str, name.values()))} has {count:,} fields, of which the first "
                f"{self._most:,} are delivered (max_fields_per_lineage); schema_versions says in fieldsLeftOut of how "
                "many fields this and other schemas are short"
            )
        return {**name, "schema": schema, "fieldCount": count, "fieldsLeftOut": left_out}

    def rows(self, version: Record) -> Iterator[Record]:
        """The fields of one version, as many as are delivered."""
        return islice(fields(version["schema"]), self._most)


class _Part(NamedTuple):
    """A part of a schema: a property, or what the elements of a list have to be."""

    path: str
    schema: Mapping[str, Any]
    is_property: bool = False
    is_required: bool = False


def fields(schema: Mapping[str, Any]) -> Iterator[Record]:
    """The properties of a schema at all depths, each followed by what is in it, in the order of the schema.

    The path is as in "basket.items[].sku"; a dot, bracket or backslash of a name has a backslash before it, so that no
    two properties share a path. What stands in combinations (oneOf, $ref and the like) is not followed.
    """
    ahead = _within(None, schema)[::-1]
    while ahead:  # and no recursion: a schema may be as deep as its author likes
        part = ahead.pop()
        if part.is_property:
            items = part.schema.get("items")
            yield {
                "path": part.path,
                "type": part.schema.get("type"),
                "itemType": items.get("type") if isinstance(items, dict) else None,
                "description": part.schema.get("description"),
                "isRequired": part.is_required,
            }
        ahead += _within(part.path, part.schema)[::-1]


def _within(path: str | None, schema: Mapping[str, Any]) -> list[_Part]:
    """The parts one step below the part at a path, or below the whole schema."""
    before = "" if path is None else f"{path}."
    required = _listed(schema.get("required"))
    parts = [
        _Part(before + _TOLD_APART.sub(r"\\\g<0>", name), _object(found), True, name in required)
        for name, found in _object(schema.get("properties")).items()
    ]
    items = schema.get("items")
    if isinstance(items, list):  # each element has a schema of its own
        return parts + [_Part(f"{path or ''}[{place}]", _object(item)) for place, item in enumerate(items)]
    return [*parts, _Part(f"{path or ''}[]", items)] if isinstance(items, dict) else parts


def _object(value: Any) -> Mapping[str, Any]:
    """A schema; an empty one where it is none, such as `true`, which allows everything."""
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> frozenset[str]:
    return frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list) else frozenset()
