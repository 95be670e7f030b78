"""The seven causes: what people write, what to write instead, and how much data each is measured with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from profiling.causes.sources import DOCUMENTS, document_bytes

FOLDER = Path(__file__).parent
SMALL, LARGE = 5_000, 50_000  # rows of a source

Kind = Literal["bad", "good"]
KINDS: tuple[Kind, ...] = ("bad", "good")


@dataclass(frozen=True)
class Cause:
    """One cause of high memory; its connectors are in NAME/bad and NAME/good.

    cause, cure  a sentence each
    data         what the source has so many rows of
    """

    name: str
    cause: str
    cure: str
    data: str

    def folder(self, kind: Kind) -> Path:
        return FOLDER / self.name / kind

    @property
    def picture(self) -> Path:
        return FOLDER / self.name / "picture.svg"

    def amount(self, rows: int) -> str:
        """What a source of so many rows holds: "5,000 customers"."""
        return self.data.format(rows=rows, megabytes=document_bytes(rows) / 1e6)


CAUSES = (
    Cause(
        "collected",
        "Everything is collected before the first row is sent.",
        "Send a page, and its checkpoint, before the next one is asked for.",
        "{rows:,} customers",
    ),
    Cause(
        "whole_file",
        "Whole files are read.",
        "Read the file as a stream, row by row.",
        "{rows:,} customers",
    ),
    Cause(
        "fetchall",
        "All rows of a query are fetched.",
        "Give the cursor a name: it stays at the server and sends a page at a time.",
        "{rows:,} customers",
    ),
    Cause(
        "joins",
        "Tables are joined, or summed up, in memory.",
        "Leave it to the database, and read the result page by page.",
        "{rows:,} customers",
    ),
    Cause(
        "caches",
        "A cache is never emptied.",
        "Bound the cache, keep in it what is needed only, and make it in `update`.",
        "{rows:,} orders",
    ),
    Cause(
        "parallel",
        "Pages are fetched in parallel, and nothing holds the fetching back.",
        "Keep a few pages under way, and ask for the next when one was taken.",
        "{rows:,} customers",
    ),
    Cause(
        "large_objects",
        "Large objects, binary or nested, are taken whole.",
        "Stream what is binary in chunks, and read what is nested as a list of its own.",
        f"{DOCUMENTS} documents of {{megabytes:g}} MB",
    ),
)
