"""The inputs of enrichments. Every event passes through all enrichments of its pipeline, so the inputs of each are all
event schemas of the organisation, or as many of them as the settings allow. What is here lives inside one sync."""

import hashlib
import heapq
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from fivetran_connector_sdk import Operations as op

from shared.http_client import HttpClient
from shared.list_reader import ListReader
from shared.pages import Record
from shared.pagination import Offset, PagePosition, PageRequest
from shared.topology import Endpoint

MANY = 100  # more event schemas than this are told: lineage of so many edges is slow wherever it is drawn


class EventSchema(NamedTuple):
    """What an edge needs to know of a data structure."""

    hash: str
    vendor: str
    name: str
    format: str


class EventSchemas:
    """The data structures that are event schemas: those that were seen when the list was read for its table, from its
    start, or else those of a list that is read for this alone."""

    def __init__(self, client: HttpClient | None, path: str, page_size: int) -> None:
        self._client, self._path = client, path
        self._pagination = Offset(offset="from", limit="size", size=page_size)
        self._found: dict[str, EventSchema] = {}
        self._is_whole = False

    def begin(self) -> None:
        """The list is read from its start."""
        self._found, self._is_whole = {}, True

    def take(self, structure: Record) -> Record:
        """Notes a data structure of the list, and returns it as it is."""
        if (structure.get("meta") or {}).get("schemaType") == "event":
            schema = EventSchema(*(structure.get(column) for column in EventSchema._fields))  # type: ignore[arg-type]
            self._found[schema.hash] = schema
        return structure

    def all(self) -> Collection[EventSchema]:
        """All event schemas in the order of the list."""
        assert self._client
        self._client.metrics.cache(hit=self._is_whole)
        if not self._is_whole:
            self._read(self._client)
        return self._found.values()

    def _read(self, client: HttpClient) -> None:
        self.begin()
        endpoint = Endpoint(pagination=self._pagination)
        for _ in ListReader(client, endpoint, "data_structures", self._path, keys=("hash",), prepare=self.take).parts():
            pass


@dataclass(frozen=True, kw_only=True)
class OffsetFromStart(Offset):
    """Pages by offset; calls `begun` when the list is read from its start, not from where a pass was interrupted."""

    begun: Callable[[], None]

    def request(self, position: PagePosition) -> PageRequest:
        if position is None:
            self.begun()
        return super().request(position)


class EnrichmentInputs:
    """The edges from event schemas to enrichments.

    most     inputs of one enrichment; None for all
    samples  whether they are chosen by a hash, so that a structure that comes or goes changes one of them at most;
             else they are the first of the list
    """

    def __init__(self, schemas: EventSchemas, most: int | None, samples: bool) -> None:
        self._schemas, self._most, self._samples = schemas, most, samples
        self._told = False

    def rows(self, enrichment: Record) -> Iterator[Record]:
        """The edges of one enrichment; none if it is off."""
        if not enrichment.get("enabled"):
            return
        candidates = self._schemas.all()
        self._tell(len(candidates))
        pipeline, name = enrichment["pipelineId"], enrichment.get("name")
        for schema in self._chosen(f"{pipeline} {name}", candidates):
            yield {
                "pipelineId": pipeline,
                "enrichmentName": name,
                "hash": schema.hash,
                "vendor": schema.vendor,
                "name": schema.name,
                "format": schema.format,
            }

    def _chosen(self, enrichment: str, candidates: Collection[EventSchema]) -> Iterable[EventSchema]:
        if self._most is None or len(candidates) <= self._most:
            return candidates
        if self._samples:
            return heapq.nsmallest(self._most, candidates, key=lambda schema: _rank(enrichment, schema.hash))
        return islice(candidates, self._most)

    def _tell(self, count: int) -> None:
        """Warns once of inputs that are left out, and of very many."""
        kept = count if self._most is None else min(count, self._most)
        if self._told or (count <= MANY and kept == count):
            return
        self._told = True
        if kept == count:
            op.warning(
                f"enrichment_schema_edges: every enabled enrichment is linked to all {count:,} event schemas, and "
                f"lineage of more than {MANY} is slow where it is drawn: lower max_enrichment_inputs, or set "
                "link_all_schemas to false"
            )
            return
        how = "a sample of" if self._samples else "the first"
        op.warning(
            f"enrichment_schema_edges: too many event schemas ({count:,}), every enabled enrichment is linked to {how} "
            f"{kept:,}: max_enrichment_inputs says how many, link_all_schemas links all"
        )


def _rank(enrichment: str, structure: str) -> bytes:
    """The place of a structure in the order in which an enrichment prefers its inputs: always the same."""
    return hashlib.blake2b(json.dumps([enrichment, structure]).encode(), digest_size=8).digest()
