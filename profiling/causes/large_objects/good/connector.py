"""Documents of an API: what each contains, in chunks, and the text of its pages.

Good: what is nested comes as a list of its own, page by page, and becomes rows of its own; the contents come as a
stream, a chunk of it a row. There is one such piece in memory, however large a document is. A sync that fails goes on
with the document that was under way: its rows have the same keys again.
"""

from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

CHUNK_BYTES = 256 * 1024


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"table": "document_pages", "primary_key": ["document_id", "page"]},
        {"table": "document_chunks", "primary_key": ["document_id", "chunk"], "columns": {"content": "BINARY"}},
    ]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/documents"
    after = state.get("after", 0)
    while documents := get(url, after=after)["data"]:
        for document in documents:
            after = document["id"]
            send_pages(f"{url}/{after}/pages", after)
            send_content(f"{url}/{after}/content", after)
            op.checkpoint({"after": after})


def send_pages(url: str, document_id: int) -> None:
    last = 0
    while pages := get(url, after=last)["data"]:
        for page in pages:
            op.upsert("document_pages", {"document_id": document_id, "page": page["id"], "text": page["text"]})
        last = pages[-1]["id"]


def send_content(url: str, document_id: int) -> None:
    with requests.get(url, stream=True, timeout=60) as response:
        response.raise_for_status()
        for chunk, part in enumerate(response.iter_content(CHUNK_BYTES)):
            op.upsert("document_chunks", {"document_id": document_id, "chunk": chunk, "content": part})


def get(url: str, **query: int) -> Any:
    """The answer, once its status is one of success."""
    response = requests.get(url, params=query, timeout=60)
    response.raise_for_status()
    return response.json()


connector = Connector(update=update, schema=schema)
