"""One sync: what kind of server it is, what was deleted there, and then all tables."""

from collections.abc import Generator, Sequence

from fivetran_connector_sdk import Logging as log

from deletions import Deletions
from lineage import of_existing_assets
from shared import walk
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.http_client import HttpClient
from shared.pages import Page
from shared.topology import Table


def read_pages(
    client: HttpClient, tables: Sequence[Table], checkpoints: Checkpoints, workers: int
) -> Generator[Page, None, None]:
    """The pages of all tables, between the two that say in the state that the sync began and ran to its end."""
    server_version(client)
    deletions = Deletions(client, checkpoints, [table.name for table in tables], client.now())
    yield deletions.begun()
    whole = deletions.lists_to_read_whole()
    tables = [of_existing_assets(table, deletions.missing) for table in tables]
    yield from walk.read_pages(client, tables, checkpoints, workers=workers, whole=whole)
    yield deletions.completed()


def server_version(client: HttpClient) -> str:
    """The version of the server; raises SourceError if it is no OpenMetadata server."""
    answer = client.get("/v1/system/version")
    version = answer.body.get("version") if isinstance(answer.body, dict) else None
    if not isinstance(version, str):
        raise SourceError(f"{answer.url} tells no version: base_url has to be the address of OpenMetadata's API, …/api")
    log.info(f"OpenMetadata {version} answers at {client.base_url}")
    return version
