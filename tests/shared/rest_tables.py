"""What the tests of the REST toolkit share: tables of a server that follows scripts, and a connector of them."""

from types import SimpleNamespace
from typing import Any

from shared import topology, walk
from shared.checkpoints import Checkpoints
from shared.http_client import HttpClient
from shared.pages import deliver
from shared.pagination import Pagination, SinglePage
from shared.topology import Table
from tests.recording import Sink
from tests.sources.faulty_http import Answer, FaultyServer

ITEM = {"id": "LONG", "name": "STRING", "changed": "STRING"}
CHANGED = "%Y-%m-%d"


def items(pagination: Pagination | None = None, **declared: Any) -> Table:
    """The table `items` at /items, its list under "data"."""
    return table("items", "/items", ("id",), ITEM, pagination=pagination or SinglePage(), **declared)


def table(name: str, path: str, primary_key: tuple[str, ...], columns: dict[str, Any], **declared: Any) -> Table:
    """A table whose list is a single page under "data", unless declared otherwise."""
    return Table(name, path, primary_key, columns, **{"records": "data", "pagination": SinglePage(), **declared})


def connector(server: FaultyServer, *tables: Table, workers: int = 1, whole: tuple[str, ...] = ()) -> Any:
    """A connector of these tables: what connectors/rest_api is, without settings."""

    def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
        with (
            HttpClient(server.url, backoff=0.01, attempts=2, connections=workers) as client,
            Checkpoints(state) as saved,
        ):
            for page in walk.read_pages(client, topology.check_tables(tables), saved, workers=workers, whole=whole):
                deliver(page)
                saved.save(page)

    return SimpleNamespace(schema=lambda _: topology.schema(tables), update=update)


def ids(sink: Sink, table: str = "items") -> list[str]:
    """The keys of what is in the destination's table, in order."""
    return sorted(row["id"] for row in sink.destination.table(table))


def page(*numbers: int, **body: Any) -> Answer:
    """A page of items with these keys."""
    return Answer({"data": [{"id": number} for number in numbers], **body})
