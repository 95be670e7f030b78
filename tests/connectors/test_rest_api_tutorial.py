"""The README of connectors/rest_api says what is true: every Python snippet of it is run, against what it shows.

Under each heading stand snippets, each followed by what it does: ```http blocks, one a sync, whose lines say

    > GET /orders?page=2      what is sent: request line, headers beyond the ordinary, body
    < 404                     the answer's status, if it is not 200, and headers; then its body, without a mark
    = orders {"id": 1} ...    the rows that the destination has afterwards, without columns that are NULL
    ! orders: ...             what the sync says on the dashboard; "..." leaves words out

Everything sent, delivered and said has to be shown, and in this order. A ```json block between holds settings. Snippets
right under a heading of the second level are the setup of those below it. The walk's snippets are one service_spec.py.
"""

import ast
import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from shared import checkpoints
from shared.configuration import SettingsBase
from shared.errors import ConnectorError
from shared.http_client import HttpClient
from shared.metrics import Metrics
from shared.rest_settings import RestSettings
from shared.topology import Cursor, Table, check_tables
from tests import new_connector, stop_and_resume
from tests.loading import CONNECTORS, load_connector
from tests.recording import Destination, decoded, sync
from tests.sources import faulty_http
from tests.sources.faulty_http import UNEXPECTED_STATUS, Answer, Bytes, FaultyServer, Step
from tests.sources.http_thread import Request

README = CONNECTORS / "rest_api" / "README.md"
TEXT = README.read_text()
WALK = "Ten minutes from an API's documentation to a connector"
API = "https://api.example.com"
# When the syncs of the README are said to run.
NOW = datetime(2025, 2, 1, 8, 0, tzinfo=UTC)
# Headers that say nothing of a declaration.
ORDINARY = frozenset(
    {"host", "user-agent", "accept", "accept-encoding", "connection", "content-length", "content-type"}
)
# Settings that have their own name in capitals as their value.
_CREDENTIALS = frozenset({"username", "password", "token", "client_id", "client_secret", "refresh_token"})

_PART = re.compile(r"^(?P<level>##+) (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
_HEADER = re.compile(r"([A-Za-z][A-Za-z-]*): (.*)")


@dataclass
class Exchange:
    """One request as the README shows it, and its answer."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    status: int = 200
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: str = ""

    def is_of(self, request: Request) -> bool:
        target = urlsplit(self.target)
        sent = {name.lower(): value for name, value in request.headers.items() if name.lower() not in ORDINARY}
        return (
            (request.method, request.path, request.query) == (self.method, target.path, dict(parse_qsl(target.query)))
            and sent == {name.lower(): value for name, value in self.headers.items()}
            and _body(request.body.decode()) == _body(self.body)
        )

    def step(self) -> Step:
        return Bytes(self.answer.encode(), self.answer_headers, self.status)


@dataclass
class Shown:
    """One sync as an ```http block shows it; rows by table."""

    exchanges: list[Exchange] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@dataclass
class Example:
    """A snippet and what it does."""

    heading: str
    setup: list[str]
    code: str
    settings: dict[str, str] = field(default_factory=dict)
    syncs: list[Shown] = field(default_factory=list)


def _body(text: str) -> Any:
    """A body to be compared: JSON, or the fields of a form."""
    return json.loads(text) if text.lstrip().startswith(("{", "[")) else dict(parse_qsl(text.strip()))


def shown(text: str) -> Shown:
    """What an ```http block says. A line without a mark goes on with what stands above it."""
    found = Shown()
    table, asks = "", False
    for line in text.splitlines():
        mark, rest = line[:2], line[2:]
        if mark == "> " and (not asks or not found.exchanges):
            method, target = rest.split(" ")
            found.exchanges.append(Exchange(method, target))
            table, asks = "", True
        elif mark == "> ":
            header = _HEADER.fullmatch(rest)
            if header:
                found.exchanges[-1].headers[header[1]] = header[2]
            else:
                found.exchanges[-1].body += rest
        elif mark == "< ":
            asks = False
            header = _HEADER.fullmatch(rest)
            if header:
                found.exchanges[-1].answer_headers[header[1]] = header[2]
            else:
                found.exchanges[-1].status = int(rest)
        elif mark == "= ":
            table, _, rows = rest.partition(" ")
            found.rows[table] = rows
        elif mark == "! ":
            found.said.append(rest)
        elif table:
            found.rows[table] += line
        else:
            asks = False
            found.exchanges[-1].answer += line + "\n"
    return found


def _parts() -> Iterator[tuple[str, str, str, str]]:
    """The README's code blocks, each with its headings of the second and of any deeper level: chapter, section,
    language, code."""
    chapter = section = ""
    for part in _PART.finditer(TEXT):
        if part["level"] == "##":
            chapter, section = part["heading"], ""
        elif part["level"]:
            section = part["heading"]
        else:
            yield chapter, section, part["language"], part["code"]


def _examples() -> list[Example]:
    found: list[Example] = []
    setup: list[str] = []
    chapter_of_setup = ""
    for chapter, section, language, code in _parts():
        if chapter == WALK:
            continue
        if chapter != chapter_of_setup:
            setup, chapter_of_setup = [*setup[:1]], chapter
        if language == "python" and not section:
            setup = [*setup, code]
        elif language == "python":
            found.append(Example(section, setup, code))
        elif language == "json":
            found[-1].settings |= json.loads(code)
        elif language == "http":
            found[-1].syncs.append(shown(code))
    return found


EXAMPLES = _examples()


class Server:
    """Answers as the README shows, for one sync after another."""

    def __init__(self, in_order: bool) -> None:
        self.left: list[Exchange] = []
        self.unexpected: list[str] = []
        self._in_order = in_order
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Step:
        with self._lock:
            for exchange in self.left[:1] if self._in_order else self.left:
                if exchange.is_of(request):
                    self.left.remove(exchange)
                    return exchange.step()
            sent = {name: it for name, it in request.headers.items() if name.lower() not in ORDINARY}
            self.unexpected.append(f"{request.method} {request.path} {request.query} {sent} {request.body.decode()}")
        return Answer({"error": "the README does not show this request"}, UNEXPECTED_STATUS)


def connector_of(example: Example, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, type[SettingsBase]]:
    """The connector with what a snippet declares in place of its own service_spec.py, and the settings it has."""
    names: dict[str, Any] = {}
    for code in (*example.setup, example.code):
        exec(code, names)
    connector = load_connector("rest_api")
    settings: type[SettingsBase] = names.get("Settings", RestSettings)
    declared = names.get("tables", lambda _: [names.get("TABLE") or names["ORDERS"]])
    monkeypatch.setattr(connector, "Settings", settings)
    monkeypatch.setattr(connector, "tables", lambda settings: check_tables(declared(settings)))
    monkeypatch.setattr(connector, "authentication", names.get("authentication", lambda _: None))
    return connector, settings


def run(connector: ModuleType, configuration: dict[str, str], destination: Destination) -> list[str]:
    """One sync; returns what it said on the dashboard."""
    try:
        return sync(connector, configuration, destination).warnings
    except ConnectorError as error:
        return [str(error)]


def rows_of(destination: Destination, url: str = API) -> dict[str, list[dict[str, Any]]]:
    """What has arrived: values as text or JSON, without those that are NULL."""
    return {
        table: sorted(({column: it for column, value in row.items() if (it := _value(*decoded(value), url)) is not None}
                       for row in rows.values()), key=repr)
        for table, rows in destination.rows.items() if rows
    }  # fmt: skip


def _value(kind: str, payload: Any, url: str) -> Any:
    if kind == "json":
        return json.loads(payload)
    return payload.replace(url, API) if isinstance(payload, str) else payload


def shown_rows(text: str) -> list[dict[str, Any]]:
    """The rows that an `=` line shows, scalars as the text that arrives."""
    rows, text = [], text.strip()
    while text:
        row, end = json.JSONDecoder().raw_decode(text)
        rows.append({name: it if isinstance(it, str | dict | list) else json.dumps(it) for name, it in row.items()})
        text = text[end:].lstrip()
    return sorted(rows, key=repr)


def matches(shown_words: str, said: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown_words.split("..."))), said, re.S) is not None


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    monkeypatch.setattr("shared.http_client.random.uniform", lambda *_: 0.0)


class TestEveryPythonSnippetIsRun:
    def test_each_is_of_the_walk_or_of_an_example_that_shows_what_it_does(self) -> None:
        snippets = re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b.*\n", TEXT, re.M)
        run = [*walk_snippets(), *dict.fromkeys(code for example in EXAMPLES for code in example.setup)]
        run += [example.code for example in EXAMPLES]
        assert len(run) == len(snippets) == TEXT.count("```python\n") > 40
        silent = [example.heading for example in EXAMPLES if not example.syncs]
        assert not silent, f"no ```http block shows what these do: {silent}"

    def test_no_block_is_overlooked(self) -> None:
        languages = [language for _, _, language, _ in _parts()]
        assert TEXT.count("```") == 2 * len(languages)
        assert set(languages) == {"python", "http", "json", "text"}

    def test_every_http_block_belongs_to_one(self) -> None:
        blocks = sum(chapter != WALK and language == "http" for chapter, _, language, _ in _parts())
        assert blocks == sum(len(example.syncs) for example in EXAMPLES)


def play(example: Example, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs an example's syncs and compares everything with what is shown. With several workers the requests come in any
    order; all else is the same."""
    monkeypatch.setattr(HttpClient, "now", lambda _: NOW)
    connector, settings = connector_of(example, monkeypatch)
    server, destination = Server(in_order=workers == 1), Destination()
    with faulty_http.start(server) as running:
        configuration = {
            **{name: name.upper() for name in settings.__dataclass_fields__ if name in _CREDENTIALS},
            "base_url": running.url,
            "max_concurrent_api_calls": str(workers),
            **example.settings,
        }
        for expected in example.syncs:
            server.left = [*expected.exchanges]
            said = [text.replace(running.url, API) for text in run(connector, configuration, destination)]
            assert (server.unexpected, server.left) == ([], []), said
            assert len(said) == len(expected.said), said
            for words, text in zip(expected.said, said, strict=True):
                assert matches(words, text), text
            shown_tables = {table: shown_rows(rows) for table, rows in expected.rows.items()}
            assert rows_of(destination, running.url) == {table: rows for table, rows in shown_tables.items() if rows}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.heading)
def test_every_snippet_does_what_is_shown_beside_it(
    example: Example, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(example, workers, monkeypatch)


class TestTheExamplesAreTakenAtTheirWord:
    """Checks that never complain prove nothing."""

    CODE = """TABLE = Table(
        "orders", "/orders", ("id",), {"id": "LONG"}, records="data", pagination=Offset(size=2), params={"a": "b"}
    )"""
    FIRST = '> GET /orders?a=b&offset=0&limit=2\n{"data": [{"id": 1}]}\n'
    SECOND = '> GET /orders?a=b&offset=1&limit=2\n{"data": []}\n'
    ROWS = '= orders {"id": 1}\n'

    def play(self, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
        play(Example("", EXAMPLES[0].setup, self.CODE, syncs=[shown(block)]), 1, monkeypatch)

    def test_what_is_right_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.play(self.FIRST + self.SECOND + self.ROWS, monkeypatch)

    @pytest.mark.parametrize(
        "block",
        [
            FIRST + ROWS,
            SECOND + FIRST + ROWS,
            FIRST + SECOND + SECOND + ROWS,
            FIRST.replace("a=b&", "") + SECOND + ROWS,
            FIRST.replace("\n", "\n> X-Api-Key: TOKEN\n", 1) + SECOND + ROWS,
            FIRST.replace("\n", '\n> {"a": 1}\n', 1) + SECOND + ROWS,
            FIRST.replace("GET", "POST") + SECOND + ROWS,
            FIRST + SECOND,
            FIRST + SECOND + ROWS.replace("1", "2"),
            FIRST + SECOND + ROWS.replace("}", ', "note": "x"}'),
            FIRST + SECOND + ROWS + '= lines {"id": 1}\n',
            FIRST + SECOND + ROWS + "! ...\n",
            FIRST.replace("}]", ', "note": "undeclared"}]') + SECOND + ROWS,
        ],
    )
    def test_what_is_not_fails(self, block: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(AssertionError):
            self.play(block, monkeypatch)


# The walk: the API that it invents, and the connector that its snippets make


class Shop:
    """The walk's API: seven orders, three a page, and a shipment of each order that was shipped."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = [
            {
                "id": n,
                "number": f"{n:05}",
                "status": "shipped" if n in (1, 3, 4, 7) else "open",
                "total": "19.90" if n % 2 else "29.85",
                "created_at": f"2025-01-{n:02}T09:00:00Z",
                "updated_at": f"2025-01-{n:02}T10:00:00Z",
                "lines": [{"line": 1, "sku": "TEA-100", "quantity": 2 if n % 2 else 1}]
                + ([] if n % 2 else [{"line": 2, "sku": "CUP-2", "quantity": 2}]),
            }
            for n in range(1, 8)
        ]

    def ship(self, number: int) -> None:
        self.orders[number - 1] |= {"status": "shipped", "updated_at": "2025-01-20T10:00:00Z"}

    def shipments(self) -> list[dict[str, Any]]:
        return [
            {"id": f"S-{order['id']}", "carrier": "DHL", "shipped_at": f"2025-01-{order['id']:02}T10:30:00+01:00"}
            for order in self.orders
            if order["status"] == "shipped"
        ]

    def __call__(self, request: Request) -> Step:
        if request.headers["Authorization"] != "Bearer TOKEN":
            return faulty_http.Unauthorized()
        if request.path.endswith("/shipments"):
            name = f"S-{request.path.split('/')[3]}"
            return Answer({"shipments": [shipment for shipment in self.shipments() if shipment["id"] == name]})
        query = request.query
        found = [order for order in self.orders if order["updated_at"] >= query.get("updated_since", "")]
        start = int(base64.b64decode(query["after"] + "==")) if "after" in query else 0
        end = start + min(int(query["limit"]), 3)
        token = base64.b64encode(str(end).encode()).decode().rstrip("=") if end < len(found) else None
        return Answer({"data": found[start:end], "paging": {"after": token}, "total_count": len(found)})


def walk_snippets() -> list[str]:
    return [code for chapter, _, language, code in _parts() if chapter == WALK and language == "python"]


def walk_exchanges() -> list[Exchange]:
    return [
        exchange
        for chapter, _, language, code in _parts()
        if chapter == WALK and language == "http"
        for exchange in shown(code).exchanges
    ]


def walk_rows() -> list[int]:
    """The numbers of rows that the walk's syncs are said to deliver."""
    logs = [code for chapter, _, language, code in _parts() if chapter == WALK and language == "text"]
    found = [re.match(r"sync complete: (\d+) rows in \d+\.\d s, \d+ rows/s \(orders (\d+)\)$", log) for log in logs]
    return [int(line[1]) for line in found if line and line[1] == line[2]]


def service_spec() -> str:
    return "\n\n".join(walk_snippets())


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The connector of the walk: a copy as `make new NAME=orders` makes it, with the walk's service_spec.py."""
    (tmp_path / "connectors").mkdir()
    (tmp_path / "connectors" / "rest_api").symlink_to(CONNECTORS / "rest_api")
    (tmp_path / "shared").symlink_to(CONNECTORS.parent / "shared")
    monkeypatch.setattr(new_connector, "CONNECTORS", tmp_path / "connectors")
    monkeypatch.setattr("sys.argv", ["make new", "orders", "rest_api"])
    new_connector.main()
    folder = tmp_path / "connectors" / "orders"
    (folder / "service_spec.py").write_text(service_spec())
    return load_connector(str(folder))


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def server(shop: Shop) -> Iterator[FaultyServer]:
    with faulty_http.start(shop) as running:
        yield running


def configuration(server: FaultyServer) -> dict[str, str]:
    """What the walk puts into orders.json, with the address of the test's server."""
    [written] = [code for chapter, _, language, code in _parts() if chapter == WALK and language == "json"]
    return {**json.loads(written), "base_url": server.url}


class TestTheWalkEndsInAConnector:
    def test_its_api_answers_as_its_documentation_says(self, shop: Shop, server: FaultyServer) -> None:
        *documented, second = walk_exchanges()
        assert len(documented) == 2
        for exchange in documented:
            assert self.answer(server, exchange) == json.loads(exchange.answer)
        shop.ship(5)
        assert self.answer(server, second) == json.loads(second.answer)

    @staticmethod
    def answer(server: FaultyServer, exchange: Exchange) -> Any:
        return requests.request(exchange.method, server.url + exchange.target, headers=exchange.headers).json()

    def test_a_first_sync_delivers_everything(self, shop: Shop, server: FaultyServer, orders: ModuleType) -> None:
        sink = sync(orders, configuration(server))
        arrived = rows_of(sink.destination)
        assert [order["number"] for order in arrived["orders"]] == [order["number"] for order in shop.orders]
        lines = {(str(order["id"]), str(line["line"])) for order in shop.orders for line in order["lines"]}
        assert {(line["order_id"], line["line"]) for line in arrived["order_lines"]} == lines
        assert [it["id"] for it in arrived["shipments"]] == [it["id"] for it in shop.shipments()]
        assert sink.warnings == []
        assert sum(sink.upserts.values()) == walk_rows()[0]

    def test_a_second_sync_asks_for_what_changed(self, shop: Shop, server: FaultyServer, orders: ModuleType) -> None:
        destination = Destination()
        sync(orders, configuration(server), destination)
        shop.ship(5)
        server.requests.clear()
        sink = sync(orders, configuration(server), destination)
        *_, shown_exchange = walk_exchanges()
        assert shown_exchange.is_of(server.requests[0])
        assert sorted(request.path for request in server.requests[1:]) == [
            "/v2/orders/5/shipments",
            "/v2/orders/7/shipments",
        ]
        assert [it["id"] for it in rows_of(destination)["shipments"]] == [it["id"] for it in shop.shipments()]
        assert sum(sink.upserts.values()) == walk_rows()[1]

    def test_stopped_anywhere_it_ends_as_if_nothing_had_happened(
        self, server: FaultyServer, orders: ModuleType
    ) -> None:
        assert stop_and_resume.check(orders, configuration(server)) > 40

    def test_its_setup_form_reads_a_first_page(self, server: FaultyServer, orders: ModuleType) -> None:
        assert orders.first_page_test(configuration(server)).success

    def test_its_file_passes_the_checks_of_make_test(self) -> None:
        for command in (["check"], ["format", "--check"]):
            ruff = [
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--stdin-filename",
                "connectors/orders/service_spec.py",
                "-",
            ]
            checked = subprocess.run(ruff, input=service_spec(), cwd=CONNECTORS.parent, capture_output=True, text=True)
            assert checked.returncode == 0, checked.stdout + checked.stderr


class TestWhatTheTablesSayIsTrue:
    def test_every_figure_of_the_log_is_explained_and_no_other(self) -> None:
        explained = re.findall(r"`(\w+)`", _chapter("Figures in the log"))
        assert explained == re.findall(r"(\w+)=", Metrics().totals())

    def test_every_message_is_one_of_the_code(self) -> None:
        texts = [text for path in CONNECTORS.parent.glob("shared/*.py") for text in _texts(path)]
        messages = re.findall(r"^\| `(.+?)` \|", _chapter("When something is wrong"), re.M)
        assert len(messages) > 15
        for message in messages:
            for words in re.split(r"\.\.\.|\d+", message):  # what is filled in
                assert any(words.strip(" :;") in text for text in texts), message

    def test_every_part_of_a_table_and_of_a_cursor_is_explained(self) -> None:
        for declared, chapter in ((Table, "Reference"), (Cursor, "What changed since")):
            explained = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([^|]+) \|", _chapter(chapter), re.M))))
            assert {part.name for part in fields(declared) if part.name != "_"} <= explained

    def test_every_link_within_it_has_its_heading(self) -> None:
        headings = re.findall(r"^##+ (.+)$", TEXT, re.M)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors

    def test_its_snippets_are_in_the_form_that_make_test_asks_for(self, tmp_path: Path) -> None:
        for number, example in enumerate(EXAMPLES):
            (tmp_path / f"snippet_{number}.py").write_text(example.code)
        config = str(CONNECTORS.parent / "pyproject.toml")
        ruff = [sys.executable, "-m", "ruff", "format", "--diff", "--config", config, str(tmp_path)]
        checked = subprocess.run(ruff, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def _chapter(heading: str) -> str:
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _texts(path: Path) -> Iterator[str]:
    """The texts of a module; those that stand together, as in an f-string, as one with what is filled in left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
