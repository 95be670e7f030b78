"""Fivetran's API Playground as a process of its own: `python -m tests.sources.playground_app --port 5001`.

Serves the package's own Flask app over HTTP. On the standard output it prints one JSON line when it is ready, with its
port and its credentials, and one JSON line as the answer to each command on the standard input:

    change N    changes N items, those that were changed the longest time ago, and adds one
    dump        answers all data, without a request (a request for companies or departments changes them at random)

The end of the standard input ends the process, so that it does not outlive the one that started it.
"""

import argparse
import json
import os
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from faker import Faker
from werkzeug.serving import WSGIRequestHandler, make_server

SEED = 1  # all createdAt, and all updatedAt, of the items are minutes apart: each is in a place of its own
HOST = "127.0.0.1"
CREDENTIALS = [
    "HTTP_BASIC_USERNAME",
    "HTTP_BASIC_PASSWORD",
    "HTTP_BEARER_TOKEN",
    "API_KEY",
    "SESSION_AUTH_USERNAME",
    "SESSION_AUTH_PASSWORD",
]


class QuietHandler(WSGIRequestHandler):
    """Does not log requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class OneAtATime:
    """A WSGI app that handles one request after the other.

    The playground sorts its list of items in place, and a list is empty to other threads while it is being sorted.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], lock: threading.Lock) -> None:
        self._app = app
        self._lock = lock

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            return list(self._app(environ, start_response))


def load_playground() -> Any:
    """Imports the playground, which makes up its data on import: the same each time, except for ids and the date."""
    os.environ["TZ"] = "UTC"  # it formats local time with a Z
    time.tzset()
    random.seed(SEED)
    Faker.seed(SEED)
    return import_module("fivetran_api_playground")


def change(playground: Any, count: int) -> dict[str, Any]:
    """Changes `count` items and adds one; returns their ids.

    Each gets a second of its own: the Playground's keyset pages skip what shares the second of a page's last item.
    """
    stamps = [
        (datetime.now() + timedelta(seconds=place)).strftime(playground.DATE_TIME_FORMAT) for place in range(count + 1)
    ]
    oldest = sorted(playground.items, key=lambda item: (item["updatedAt"], item["createdAt"]))[:count]
    for item, stamp in zip(oldest, stamps, strict=False):
        item.update(job=f"Senior {item['job']}", updatedAt=stamp)
    fake = playground.fake
    new = {field: getattr(fake, field)() for field in ("name", "email", "address", "company", "job")}
    playground.items.append({"id": str(uuid.uuid4()), **new, "createdAt": stamps[-1], "updatedAt": stamps[-1]})
    return {"changed": [item["id"] for item in oldest], "added": playground.items[-1]["id"]}


def dump(playground: Any) -> dict[str, Any]:
    """Returns all data that the playground holds."""
    departments = [row for rows in playground.departments_by_company.values() for row in rows]
    return {"items": playground.items, "companies": playground.companies, "departments": departments}


def answer(playground: Any, command: str) -> dict[str, Any]:
    """Carries out one line of the standard input."""
    match command.split():
        case ["change", count] if count.isdecimal():
            return change(playground, int(count))
        case ["dump"]:
            return dump(playground)
        case _:
            return {"error": f"unknown command: {command.strip()}"}


def say(message: dict[str, Any]) -> None:
    """Prints one JSON line."""
    print(json.dumps(message), flush=True)


def main() -> int:
    """Serves till the standard input ends; returns the exit code."""
    parser = argparse.ArgumentParser(description="Serve Fivetran's API Playground on the loopback interface.")
    parser.add_argument("--port", type=int, default=0, help="the port; a free one by default")
    port = parser.parse_args().port
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        say({"error": f"The API Playground cannot listen on port {port}: {os.strerror(error.errno or 0)}."})
        return 1
    lock = threading.Lock()
    with listener:
        port = listener.getsockname()[1]
        playground = load_playground()
        app = OneAtATime(playground.app, lock)
        server = make_server(HOST, port, app, threaded=True, request_handler=QuietHandler, fd=listener.fileno())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        say({"port": port, "credentials": {name: getattr(playground, name) for name in CREDENTIALS}})
        for command in sys.stdin:
            with lock:
                say(answer(playground, command))
    return 0


if __name__ == "__main__":
    sys.exit(main())
