"""Documents of an API: what each contains, in chunks, and the text of its pages.

Bad: `expand` has everything put into one answer, nested and as base64. Its bytes, its text, the objects made of it and
the decoded contents are in memory at a time: several times the largest document, which nobody bounds.
"""

import base64
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
    while documents := requests.get(url, params={"after": after}, timeout=60).json()["data"]:
        for summary in documents:
            after = summary["id"]
            whole = requests.get(f"{url}/{after}", params={"expand": "pages,content"}, timeout=60).json()  # BAD
            for page in whole["pages"]:
                op.upsert("document_pages", {"document_id": after, "page": page["id"], "text": page["text"]})
            content = base64.b64decode(whole["content"])
            for chunk, start in enumerate(range(0, len(content), CHUNK_BYTES)):
                part = content[start : start + CHUNK_BYTES]
                op.upsert("document_chunks", {"document_id": after, "chunk": chunk, "content": part})
            op.checkpoint({"after": after})


connector = Connector(update=update, schema=schema)
