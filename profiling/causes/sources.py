"""What the connectors of the gallery read: an API, a CSV file that it offers, and a PostgreSQL server.

Every source can be had at several sizes: a number of rows is the first part of the API's paths, and there is a database
for every number.

/5000/customers?after=2000       the next 500 customers: {"data": [...]}
/5000/customers?page=4           the same ones
/5000/customers/count            {"customers": 5000, "pages": 10}
/5000/customers.csv              all of them, from a file on disk
/5000/orders?after=2000          the next 500 orders; those beside each other are of the same few products
/5000/products/7                 a product, with a long list of what there is to say about it
/5000/documents?after=0          three documents; the number of rows decides how large each is
/5000/documents/1?expand=...     one of them with its pages nested, and its contents as base64
/5000/documents/1/pages?after=0  its next 500 pages
/5000/documents/1/content        its contents
"""

import base64
import csv
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from psycopg2 import sql

from profiling.served import served
from tests.sources import postgres_server
from tests.sources.http_thread import Handler, HttpThread, Request, serving
from tests.sources.postgres_server import PostgresServer

HOST = "127.0.0.1"
READER = "reader"  # the PostgreSQL user of the connectors; needs no password

DOCUMENTS = 3
_CONTENT_BYTES, _PAGE_BYTES, _ROWS_A_PAGE = 200, 1_500, 5  # of a document, by the number of rows
_PAGE_ROWS, _DOCUMENT_PAGES = 500, 500  # of one answer
_SPECIFICATIONS = 600  # of a product, about 250 kB as Python's objects

_NOTES = "called back, wants an offer until the end of the month; has been with us from the beginning. " * 18
_TABLES = """
    CREATE UNLOGGED TABLE customers (
        id bigint PRIMARY KEY, name text, email text, city text, active boolean, balance numeric(12, 2),
        created timestamptz, notes text
    );
    CREATE UNLOGGED TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, amount numeric(12, 2) NOT NULL);
"""
_ORDERS = "INSERT INTO orders SELECT n, 1 + n * 7 %% %(rows)s, n * 0.25 FROM generate_series(1, %(rows)s) AS n"


@dataclass(frozen=True)
class Sources:
    """The running sources."""

    url: str
    postgres_port: int

    def configuration(self, folder: Path, rows: int) -> dict[str, str]:
        """The configuration.json of a connector, with the addresses of these sources at so many rows."""
        given: dict[str, str] = json.loads((folder / "configuration.json").read_text())
        if "base_url" in given:
            return {**given, "base_url": f"{self.url}/{rows}"}
        return {**given, "port": str(self.postgres_port), "database": database_of(rows)}


@contextmanager
def start(sizes: Sequence[int], http_port: int | None = None, postgres_port: int | None = None) -> Iterator[Sources]:
    """Starts the sources, in processes of their own, with so many rows; ends them on exit.

    The ports are free ones by default. Raises RuntimeError when one cannot be listened on.
    """
    _check_free(http_port)
    with tempfile.TemporaryDirectory(prefix="causes-") as folder:
        for rows in sizes:
            _write_customers(Path(folder), rows)
        with (
            postgres_server.start(postgres_port, trusted_role=READER) as postgres,
            served(partial(start_api, Path(folder), http_port)) as api,
        ):
            _fill(postgres, Path(folder), sizes)
            yield Sources(api.ask(url_of), postgres.port)


def database_of(rows: int) -> str:
    return f"customers_{rows}"


def document_bytes(rows: int) -> int:
    """How large a document is, its pages and its contents."""
    return rows * _CONTENT_BYTES + rows // _ROWS_A_PAGE * _PAGE_BYTES


def _check_free(port: int | None) -> None:
    try:
        socket.create_server((HOST, port or 0)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RuntimeError(
            f"The gallery's API cannot listen on port {port} ({reason}): end the program that does so."
        ) from error


# The data


def customer(number: int) -> dict[str, Any]:
    """A customer, about 1.5 kB."""
    return {
        "id": number,
        "name": f"Customer {number}",
        "email": f"customer.{number}@example.com",
        "city": f"City {number % 97}",
        "active": number % 3 == 0,
        "balance": number / 4,
        "created": f"2026-01-{number % 28 + 1:02}T08:{number % 60:02}:00Z",
        "notes": f"{number}: {_NOTES}",
    }


def order(number: int) -> dict[str, Any]:
    return {"id": number, "product_id": 1 + number // 100 + number % 3, "quantity": 1 + number % 5}


def product(number: int) -> dict[str, Any]:
    """A product with a long list, of which a connector needs nothing."""
    specifications = [
        {"name": f"property {at} of {number}", "value": f"{number * at} and more", "unit": f"unit {at}"}
        for at in range(_SPECIFICATIONS)
    ]
    category = f"Category {number % 9}"
    return {"id": number, "name": f"Product {number}", "category": category, "specifications": specifications}


def document_page(number: int) -> dict[str, Any]:
    return {"id": number, "text": f"page {number} ".ljust(_PAGE_BYTES, ".")}


def content(document: int, rows: int) -> bytes:
    """The contents of a document: binary, and not the same for all of them."""
    size = rows * _CONTENT_BYTES
    return (bytes(range(document, 256)) * (size // (256 - document) + 1))[:size]


def _write_customers(folder: Path, rows: int) -> None:
    with (folder / f"{rows}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, customer(1))
        writer.writeheader()
        writer.writerows(customer(number) for number in range(1, rows + 1))


def _fill(postgres: PostgresServer, folder: Path, sizes: Sequence[int]) -> None:
    """A database with customers and orders for every size."""
    with closing(postgres.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE pg_read_all_data").format(sql.Identifier(READER)))
    for rows in sizes:
        postgres.create_database(database_of(rows))
        with closing(postgres.connect(database_of(rows))) as connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            with (folder / f"{rows}.csv").open() as file:
                cursor.copy_expert("COPY customers FROM STDIN (FORMAT csv, HEADER)", file)
            cursor.execute(_ORDERS, {"rows": rows})
            cursor.execute("ANALYZE")


# The API


class Api(HttpThread):
    """Makes every answer when it is asked for; the files with the customers are in `folder`."""

    def __init__(self, folder: Path, port: int | None) -> None:
        super().__init__(port)
        self._folder = folder

    def respond(self, request: Request, handler: Handler) -> None:
        size, *path = request.path.strip("/").split("/")
        if not size.isdecimal():
            handler.reply_json(404, {"error": f"{request.path} does not begin with a number of rows"})
            return
        rows = int(size)
        after = int(request.query.get("after", int(request.query.get("page", 0)) * _PAGE_ROWS))
        match path:
            case ["customers"]:
                handler.reply_json(200, _page(customer, after, rows, _PAGE_ROWS))
            case ["customers", "count"]:
                handler.reply_json(200, {"customers": rows, "pages": -(-rows // _PAGE_ROWS)})
            case ["customers.csv"]:
                self._send_file(handler, self._folder / f"{rows}.csv")
            case ["orders"]:
                handler.reply_json(200, _page(order, after, rows, _PAGE_ROWS))
            case ["products", number]:
                handler.reply_json(200, product(int(number)))
            case ["documents"]:
                handler.reply_json(200, _page(_summary, after, DOCUMENTS, _PAGE_ROWS))
            case ["documents", number]:
                handler.reply_json(200, _expanded(int(number), rows))
            case ["documents", _, "pages"]:
                handler.reply_json(200, _page(document_page, after, rows // _ROWS_A_PAGE, _DOCUMENT_PAGES))
            case ["documents", number, "content"]:
                handler.reply(200, content(int(number), rows), {"Content-Type": "application/octet-stream"})
            case _:
                handler.reply_json(404, {"error": f"there is no {request.path}"})

    def _send_file(self, handler: Handler, path: Path) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/csv; charset=utf-8")
        handler.send_header("Content-Length", str(path.stat().st_size))
        handler.end_headers()
        with path.open("rb") as file:
            shutil.copyfileobj(file, handler.wfile)


def _page(make: Any, after: int, last: int, most: int) -> dict[str, Any]:
    return {"data": [make(number) for number in range(after + 1, min(after + most, last) + 1)]}


def _summary(document: int) -> dict[str, Any]:
    return {"id": document, "name": f"Document {document}"}


def _expanded(document: int, rows: int) -> dict[str, Any]:
    pages = [document_page(number) for number in range(1, rows // _ROWS_A_PAGE + 1)]
    encoded = base64.b64encode(content(document, rows)).decode()
    return {**_summary(document), "pages": pages, "content": encoded}


@contextmanager
def start_api(folder: Path, port: int | None) -> Iterator[Api]:
    """Starts the API in a thread; ends it on exit."""
    with serving(Api(folder, port)) as api:
        yield api


def url_of(api: Api) -> str:
    return api.url
