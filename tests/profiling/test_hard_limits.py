"""Each connector, as it is set by default, delivers ten times the memory that it takes, which is less than 256 MB.

The data is made on the fly, so that no gigabyte is written anywhere; rows are wide, so that it is made quickly.
"""

import gzip
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from unittest import mock

import pytest

from shared.memory_limit import group_folders
from tests.connectors.postgres_database import Database
from tests.profiling.limited import Kind, Result, checksum, run_limited
from tests.sources import openmetadata_server, snowplow_server
from tests.sources.http_thread import Handler, HttpThread, Request, serving
from tests.sources.postgres_server import PostgresServer
from tests.sources.snowplow_server import Structure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to its memory")

MOST = 256 * 2**20
TIMES = 10  # what is delivered, by the memory that the process takes
WIDE = 200_000  # characters, where the servers of ours make few entities a second
KINDS: tuple[Kind, ...] = ("control group", "RLIMIT_DATA")


@dataclass(frozen=True)
class Made:
    """A source: the connector's configuration for it, and what has to arrive of its wide tables.

    column  whose values are summed up, by table
    """

    configuration: Mapping[str, str]
    rows: Mapping[str, int]
    sizes: Mapping[str, int]  # bytes at least
    column: Mapping[str, str]
    checksums: Mapping[str, int]


def sync_limited(name: str, made: Made) -> Result:
    """A first sync that may have 256 MB; it has to end well."""
    arguments = ["-m", "tests.profiling.limited", name, json.dumps(made.column)]
    ended = run_limited(arguments, MOST, json.dumps(made.configuration))
    assert ended.returncode == 0, f"{ended.kind}: {ended.output}{ended.errors}"
    result = Result(**json.loads(ended.output.splitlines()[-1]))
    sizes = sum(result.sizes.values())
    print(f"{name}, kept by {ended.kind}: {sizes / 1e6:,.0f} MB of values, {result.peak / 1e6:,.0f} MB of memory")
    return result


def check(name: str, made: Made) -> None:
    """Runs a sync, and compares what arrived with what was made."""
    result = sync_limited(name, made)
    for table, rows in made.rows.items():
        assert result.rows[table] == rows, table
        assert result.checksums[table] == made.checksums[table], table
        assert result.sizes[table] >= made.sizes[table], table
    assert sum(result.sizes.values()) >= TIMES * result.peak
    assert result.peak < MOST


def of_numbers(count: int) -> int:
    """The sum of the checksums of 0, 1, 2, ..."""
    return sum(checksum(str(number)) for number in range(count))


def text(size: int) -> str:
    """So many characters of a text that is not all the same."""
    return ("a wide column of which every row has as much as a page elsewhere - " * (size // 67 + 1))[:size]


class TestTenTimesTheMemoryUnderAHardLimit:
    def test_postgres(self, postgres: PostgresServer) -> None:
        count, width = 120_000, 10_000
        database = Database(postgres)
        try:
            database.run(
                "CREATE TABLE wide (id bigint PRIMARY KEY, body text); "
                f"INSERT INTO wide SELECT number, repeat('{text(100)}', {width // 100}) "
                f"FROM generate_series(0, {count - 1}) AS number"
            )
            made = Made(
                {name: value for name, value in database.configuration.items() if name != "page_bytes"},
                {"wide": count},
                {"wide": count * width},
                {"wide": "id"},
                {"wide": of_numbers(count)},
            )
            check("postgres", made)
        finally:
            database.close()

    def test_rest_api(self) -> None:
        with serving(WideUsers()) as server:
            half = server.rows
            tables = ("users_by_next_link", "users_since")
            made = Made(
                {"base_url": server.url},
                dict.fromkeys(tables, half),
                dict.fromkeys(tables, half * len(server.wide)),
                dict.fromkeys(tables, "id"),
                dict.fromkeys(tables, of_numbers(half)),
            )
            check("rest_api", made)

    def test_files(self, tmp_path: Path) -> None:
        chunks, rows, width = 450, 400, 10_000
        wide = text(width)
        header, chunk = b"number,body\n", "".join(f"{number},{wide}\n" for number in range(rows)).encode()
        path = tmp_path / "wide.csv.gz"
        with path.open("wb") as file:  # each chunk is a file in the file, made once: gzip takes them as one
            file.write(gzip.compress(header))
            member = gzip.compress(chunk)
            for _ in range(chunks):
                file.write(member)
        os.utime(path, (1, 1))  # what was written just now is left to the next sync
        made = Made(
            {"location": str(tmp_path), "tables": "wide = *.csv.gz"},
            {"wide": chunks * rows},
            {"wide": chunks * rows * width},
            {"wide": "number"},
            {"wide": chunks * of_numbers(rows)},
        )
        check("files", made)

    def test_openmetadata(self) -> None:
        count, wide = 5_400, text(WIDE)
        none = dict.fromkeys((each.name for each in fields(openmetadata_server.Size)), 0)
        size = openmetadata_server.Size(**{**none, "glossaries": 2, "glossary_terms": count})
        with (
            mock.patch.object(openmetadata_server, "_description", return_value=wide),
            openmetadata_server.start(size) as server,
        ):
            made = Made(
                {"base_url": server.api_url, "token": server.token},
                {"glossary_terms": count},
                {"glossary_terms": count * len(wide)},
                {"glossary_terms": "id"},
                {"glossary_terms": sum(map(checksum, server.ids("glossaryTerms")))},
            )
            check("openmetadata", made)

    def test_snowplow(self) -> None:
        count, wide, item = 6_400, text(WIDE), Structure.item
        size = snowplow_server.Size(structures=count, versions_each=1, wide_schemas=0, fields_per_schema=2)
        with (
            mock.patch.object(Structure, "item", lambda structure: {**item(structure), "description": wide}),
            snowplow_server.start(size, now=None) as server,
        ):
            made = Made(
                {
                    "base_url": server.url,
                    "organization_id": server.organization_id,
                    "api_key_id": server.api_key_id,
                    "api_key": server.api_key,
                },
                {"data_structures": count},
                {"data_structures": count * len(wide)},
                {"data_structures": "hash"},
                {"data_structures": sum(checksum(one["hash"]) for one in server.truth("data_structures"))},
            )
            check("snowplow", made)


@pytest.mark.parametrize("kind", KINDS)
class TestTheLimitBites:
    """Limits that nothing ever runs into prove nothing."""

    def test_a_process_that_collects_more_is_stopped(self, kind: Kind) -> None:
        ended = run_limited(["-c", "rows = [b'x' * 10_000 * (number + 1) for number in range(1_000)]"], MOST, kind=kind)
        assert ended.returncode != 0
        assert ended.was_short, f"{ended.kind}: {ended.errors}"

    def test_a_process_that_needs_less_is_not(self, kind: Kind) -> None:
        ended = run_limited(["-c", "print(sum(len(b'x' * 100_000_000) for _ in range(20)))"], MOST, kind=kind)
        assert (ended.returncode, ended.output) == (0, "2000000000\n"), ended.errors

    def test_nothing_is_left_of_it(self, kind: Kind) -> None:
        ended = run_limited(["-c", "print(open('/proc/self/cgroup').read())"], MOST, kind=kind)
        groups = re.findall(r"limited-[\d-]+", ended.output)
        assert bool(groups) == (ended.kind == "control group")
        assert not any(folder.joinpath(name).exists() for _, folder in group_folders() for name in groups)


class WideUsers(HttpThread):
    """The API of connectors/rest_api with so many wide users in a list of pages, as many in one answer, and no more."""

    rows, page, wide = 36_000, 50, text(15_000)

    def respond(self, request: Request, handler: Handler) -> None:
        if request.path == "/pagination/next_page_url":
            first = int(request.query.get("first", 0))
            following = first + self.page
            link = f"{self.url}{request.path}?first={following}" if following < self.rows else None
            beside = {"next_page_url": link, "total_items": self.rows}
            body = b",".join(map(self._user, range(first, following)))
            handler.reply(200, b'{"data": [%b], %b' % (body, json.dumps(beside).encode()[1:]))
        elif request.path == "/incremental/timestamp":
            self._send_all(handler)
        else:
            handler.reply_json(200, {"data": [], "total_pages": 1, "total": 0})

    def _send_all(self, handler: Handler) -> None:
        """One answer, without a length: it ends with the connection."""
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b'{"data": [' + self._user(0))
        for number in range(1, self.rows):
            handler.wfile.write(b"," + self._user(number))
        handler.wfile.write(b"]}")

    def _user(self, number: int) -> bytes:
        return b'{"id": "%d", "updatedAt": "2026-01-01T00:00:00Z", "address": "%b"}' % (number, self.wide.encode())
