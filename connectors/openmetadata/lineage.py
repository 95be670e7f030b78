"""Lineage: which asset leads to which. The API tells it of one asset in a call, and has no list of it.

For each asset, only what leads away from it is asked for, one step: so each edge is met once.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Any

from entities import ENTITIES, MOMENT, columns
from shared.pages import Record
from shared.pagination import InTurn, SinglePage, Token, at_path
from shared.topology import Table, embedded

_GONE = frozenset({404})  # an asset that was deleted since it was listed, and its lineage with it


def lineage_table(pages: Token, page_size: int) -> Table:
    """The assets, read for the sake of their lineage alone, and below each what leads away from it."""
    entities = [entity for entity in ENTITIES if entity.has_lineage]
    paths = tuple(f"/v1/{entity.collection}" for entity in entities)
    types = tuple((entity.collection, entity.type) for entity in entities)
    return Table(
        "lineage_sources",
        paths[0],
        primary_key=("id",),
        columns=columns(strings="id entity_type"),
        records="data",
        pagination=InTurn(paths=paths, pages=pages),
        params={"limit": str(page_size), "include": "all"},
        problems="errors",
        prepare=WithType(types),
        delivered=False,
        children=(
            Table(
                "lineage_answers",
                "/v1/lineage/{entity_type}/{id}",
                primary_key=("id",),
                columns=columns(strings="id"),
                inherit={"id": "id"},
                shape="object",
                pagination=SinglePage(),
                params={"upstreamDepth": "0", "downstreamDepth": "1"},
                gone=_GONE,
                delivered=False,
                children=(_edges_table(),),
            ),
        ),
    )


def of_existing_assets(table: Table, missing: Container[str]) -> Table:
    """The table; the one of all assets without collections that the server does not have."""
    pages = table.pagination
    if not isinstance(pages, InTurn):
        return table
    paths = tuple(path for path in pages.paths if path.removeprefix("/v1/") not in missing)
    return replace(table, path=paths[0], pagination=replace(pages, paths=paths)) if paths else table


def _edges_table() -> Table:
    return embedded(
        "lineage_edges",
        edges_of,
        ("fromEntity", "toEntity"),
        {
            **columns(
                strings="fromEntity toEntity description source sqlQuery pipeline_id createdBy updatedBy",
                longs="assetEdges",
                json="lineageDetails",
            ),
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
        },
        deletes=True,
    )


@dataclass(frozen=True)
class WithType:
    """Makes a listed asset an id and the type by which its lineage is asked for, which its address tells.

    types  of each collection
    """

    types: tuple[tuple[str, str], ...]

    def __call__(self, record: Record) -> Record:
        collection = record["href"].rpartition("/v1/")[2].rpartition("/")[0]
        return {"id": record["id"], "entity_type": dict(self.types)[collection]}


def edges_of(answer: Record) -> Iterator[Record]:
    """The edges that lead away from an asset; there is no list of them when there are none.

    Some of an edge's details have columns of their own, beside all of them. Raises ValueError for what is no edge.
    """
    for edge in answer.get("downstreamEdges") or ():
        if not isinstance(edge, dict):
            raise ValueError("downstreamEdges has an entry that is no edge")
        yield {**edge, **_details(edge.get("lineageDetails"))}


def _details(details: Any) -> Record:
    names = ("source", "sqlQuery", "createdAt", "createdBy", "updatedAt", "updatedBy", "assetEdges")
    return {name: at_path(details, name) for name in names} | {"pipeline_id": at_path(details, "pipeline.id")}
