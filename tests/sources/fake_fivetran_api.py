"""The part of Fivetran's REST API that `fivetran deploy` and `fivetran package` call, with its checks.

    with start() as api:
        home = ...  # {"production_base_url": api.url} in its file .fivetran/connector_sdk/_config.json
        subprocess.run(["fivetran", "deploy", ..., "--api-key", api.api_key, "--destination", api.destination])
        assert list(api.connections.values())[0]["schema"] == ...

`api.requests` holds every request, `api.packages` the uploaded zip files and `api.connections` what the connections
were created or updated with, by their ids. `api.setup_tests` is what the setup tests of a connection report.
"""

import base64
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from itertools import count
from typing import Any

from .http_thread import Handler, HttpThread, Request, serving

API_KEY = base64.b64encode(b"test-key:test-secret").decode()
GROUP_ID = "group_for_tests"
PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
NAMINGS = ("FIVETRAN_NAMING", "SOURCE_NAMING")
SCHEMA_NAME = re.compile(r"[_a-z][_a-z0-9]*")
MASK = "******"


@dataclass
class ApiError(Exception):
    """An answer other than success, in the API's terms."""

    status: int
    code: str
    message: str


class FivetranApi(HttpThread):
    """An account with one destination, no connections and no packages at first."""

    def __init__(self, port: int | None = None, api_key: str = API_KEY, destination: str = "warehouse") -> None:
        super().__init__(port)
        self.api_key = api_key
        self.destination = destination
        self.packages: dict[str, bytes] = {}
        self.connections: dict[str, dict[str, Any]] = {}
        self.setup_tests = [{"title": "Running connector", "status": "PASSED", "message": ""}]
        self._created_at: dict[str, str] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._routes: list[tuple[str, str, Callable[..., tuple[int, Any]]]] = [
            ("GET", r"/v1/connector-sdk/migration/connections", self._list_for_migration),
            ("GET", r"/v1/groups", self._list_groups),
            ("GET", r"/v1/groups/([^/]+)/(?:connectors|connections)", self._list_connections),
            ("GET", r"/v1/destinations/([^/]+)", self._get_destination),
            ("POST", r"/v1/(?:connectors|connections)", self._create_connection),
            ("GET", r"/v1/(?:connectors|connections)/([^/]+)", self._get_connection),
            ("PATCH", r"/v1/(?:connectors|connections)/([^/]+)", self._update_connection),
            ("POST", r"/v1/connector-sdk/packages", self._create_package),
            ("GET", r"/v1/connector-sdk/packages", self._list_packages),
            ("GET", r"/v1/connector-sdk/packages/([^/]+)", self._get_package),
            ("PATCH", r"/v1/connector-sdk/packages/([^/]+)", self._update_package),
            ("DELETE", r"/v1/connector-sdk/packages/([^/]+)", self._delete_package),
        ]

    def respond(self, request: Request, handler: Handler) -> None:
        try:
            with self._lock:
                status, data = self._route(request)
        except ApiError as error:
            handler.reply_json(error.status, {"code": error.code, "message": error.message})
        else:
            handler.reply_json(status, {"code": "Success", "data": data})

    def _route(self, request: Request) -> tuple[int, Any]:
        """Finds who answers a request; returns the status and the data of the answer."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            raise ApiError(401, "AuthFailed", "Missing authorization header")
        if authorization != f"Basic {self.api_key}":
            raise ApiError(401, "AuthFailed", "Invalid authorization credentials")
        found = [(route, match) for route in self._routes if (match := re.fullmatch(route[1], request.path))]
        for (method, _, answer), match in found:
            if method == request.method:
                return answer(request, *match.groups())
        if found:
            raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed for {request.path}")
        raise ApiError(404, "NotFound", f"There is nothing at {request.path}")

    # Groups and destinations

    def _list_groups(self, request: Request) -> tuple[int, Any]:
        return 200, {"items": [{"id": GROUP_ID, "name": self.destination}], "next_cursor": None}

    def _get_destination(self, request: Request, destination_id: str) -> tuple[int, Any]:
        _check_group(destination_id)
        return 200, {"id": GROUP_ID, "group_id": GROUP_ID, "setup_status": "CONNECTED", "networking_method": "Directly"}

    # Connections

    def _list_connections(self, request: Request, group_id: str) -> tuple[int, Any]:
        _check_group(group_id)
        schema = request.query.get("schema")
        items = [self._shown(one) for one in self.connections.values() if schema in (None, one["schema"])]
        return 200, {"items": items, "next_cursor": None}

    def _list_for_migration(self, request: Request) -> tuple[int, Any]:
        keys = ("group_id", "schema", "destination_schema_names", "networking_method", "hybrid_deployment_agent_id")
        items = [
            {key: connection[key] for key in keys}
            | {key: connection["config"].get(key) for key in ("python_version", "package_id")}
            | {"group_name": self.destination, "package_shared": False}
            for connection in self.connections.values()
        ]
        return 200, {"items": items, "next_cursor": None}

    def _get_connection(self, request: Request, connection_id: str) -> tuple[int, Any]:
        return 200, self._shown(self._connection(connection_id))

    def _create_connection(self, request: Request) -> tuple[int, Any]:
        body = _json_body(request)
        _check_group(_field(body, "group_id", str))
        if _field(body, "service", str) != "connector_sdk":
            raise _invalid(f"Unsupported connector service '{body['service']}'")
        naming = body.get("destination_schema_names") or NAMINGS[0]
        if naming not in NAMINGS:
            raise _invalid(f"Invalid value for destination_schema_names: '{naming}'")
        config = _field(body, "config", dict)
        schema = _field(config, "schema", str)
        if not SCHEMA_NAME.fullmatch(schema):
            raise _invalid(f"Invalid value for config.schema: '{schema}'")
        if any(schema == other["schema"] for other in self.connections.values()):
            raise _invalid(f"A connection with the schema '{schema}' already exists in the destination")
        self._check_config(config)
        connection = {
            "id": self._new_id("connection"),
            "group_id": GROUP_ID,
            "service": "connector_sdk",
            "schema": schema,
            "paused": body.get("paused", False),
            "sync_frequency": body.get("sync_frequency", "360"),
            "destination_schema_names": naming,
            "networking_method": body.get("networking_method") or "Directly",
            "hybrid_deployment_agent_id": body.get("hybrid_deployment_agent_id"),
            "proxy_agent_id": body.get("proxy_agent_id"),
            "config": {"python_version": PYTHON_VERSIONS[-1], **config},
        }
        self.connections[connection["id"]] = connection
        return 201, self._tested(connection, body)

    def _update_connection(self, request: Request, connection_id: str) -> tuple[int, Any]:
        connection = self._connection(connection_id)
        body = _json_body(request)
        config = body.get("config", {})
        if config.get("schema", connection["schema"]) != connection["schema"]:
            raise _invalid("The schema of a connection cannot be changed")
        self._check_config({**connection["config"], **config})
        connection["config"].update(config)
        settable = ("paused", "sync_frequency", "networking_method", "hybrid_deployment_agent_id", "proxy_agent_id")
        connection.update({key: body[key] for key in settable if key in body})
        return 200, self._tested(connection, body)

    def _check_config(self, config: dict[str, Any]) -> None:
        """Checks the settings of a connection other than its schema."""
        package_id = _field(config, "package_id", str)
        if package_id not in self.packages:
            raise _invalid(f"Package with id '{package_id}' does not exist")
        version = config.get("python_version", PYTHON_VERSIONS[-1])
        if version not in PYTHON_VERSIONS:
            raise _invalid(f"Unsupported python_version '{version}'")
        for secret in config.get("secrets_list", []):
            if not isinstance(secret, dict) or set(secret) != {"key", "value"}:
                raise _invalid("Each entry of config.secrets_list must have a key and a value")
            if not all(isinstance(part, str) for part in secret.values()):
                raise _invalid(f"The value of '{secret['key']}' in config.secrets_list must be a string")

    def _connection(self, connection_id: str) -> dict[str, Any]:
        if connection_id not in self.connections:
            raise ApiError(404, "NotFound_Connector", f"Connector with id '{connection_id}' does not exist.")
        return self.connections[connection_id]

    def _tested(self, connection: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """Returns a connection as the API shows it, with the results of its setup tests if the caller wants any."""
        return {**self._shown(connection), "setup_tests": self.setup_tests if body.get("run_setup_tests", True) else []}

    def _shown(self, connection: dict[str, Any]) -> dict[str, Any]:
        """Returns a connection as the API shows it: without its secrets."""
        config = dict(connection["config"])
        if "secrets_list" in config:
            config["secrets_list"] = [{"key": one["key"], "value": MASK} for one in config["secrets_list"]]
        return {**connection, "config": config}

    # Packages

    def _create_package(self, request: Request) -> tuple[int, Any]:
        content = _uploaded_zip(request)
        package_id = self._new_id("package")
        self.packages[package_id] = content
        self._created_at[package_id] = datetime.now(UTC).isoformat()
        return 201, self._shown_package(package_id)

    def _list_packages(self, request: Request) -> tuple[int, Any]:
        limit = int(request.query.get("limit", 100))
        start = int(request.query.get("cursor", 0))
        page = list(self.packages)[start : start + limit]
        more = start + limit < len(self.packages)
        items = [self._shown_package(package_id) for package_id in page]
        return 200, {"items": items, "next_cursor": str(start + limit) if more else None}

    def _get_package(self, request: Request, package_id: str) -> tuple[int, Any]:
        self._check_package(package_id)
        return 200, self._shown_package(package_id)

    def _update_package(self, request: Request, package_id: str) -> tuple[int, Any]:
        self._check_package(package_id)
        self.packages[package_id] = _uploaded_zip(request)
        return 200, self._shown_package(package_id)

    def _delete_package(self, request: Request, package_id: str) -> tuple[int, Any]:
        self._check_package(package_id)
        if self._users(package_id):
            raise ApiError(409, "Conflict", f"Package with id '{package_id}' is used by a connection")
        del self.packages[package_id]
        return 200, None

    def _check_package(self, package_id: str) -> None:
        if package_id not in self.packages:
            raise ApiError(404, "NotFound_Package", f"Package with id '{package_id}' does not exist.")

    def _shown_package(self, package_id: str) -> dict[str, Any]:
        users = self._users(package_id)
        return {
            "id": package_id,
            "created_at": self._created_at[package_id],
            "connection_id": users[0] if users else None,
            "connection_ids": users,
            "file_sha256_hash": hashlib.sha256(self.packages[package_id]).hexdigest(),
        }

    def _users(self, package_id: str) -> list[str]:
        """Returns the ids of the connections that use a package."""
        return [key for key, one in self.connections.items() if one["config"]["package_id"] == package_id]

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"


@contextmanager
def start(port: int | None = None, *, api_key: str = API_KEY, destination: str = "warehouse") -> Iterator[FivetranApi]:
    """Starts the API in a thread; ends it on exit.

    Args:
        port: The port; a free one by default.
        api_key: The only key it accepts, as it is given to the command line (base64 of `key:secret`).
        destination: The name of its only destination.
    """
    with serving(FivetranApi(port, api_key, destination)) as api:
        yield api


def _check_group(group_id: str) -> None:
    if group_id != GROUP_ID:
        raise ApiError(404, "NotFound_Group", f"Group with id '{group_id}' does not exist.")


def _json_body(request: Request) -> dict[str, Any]:
    """Returns the JSON object that a request brings."""
    if request.headers.get_content_type() != "application/json":
        raise ApiError(415, "UnsupportedMediaType", "The content type must be application/json")
    try:
        body = request.json
    except json.JSONDecodeError as error:
        raise ApiError(400, "IllegalJSON", f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _invalid("The body must be a JSON object")
    return body


def _field(body: dict[str, Any], name: str, kind: type) -> Any:
    """Returns a required field of a JSON object."""
    if not isinstance(body.get(name), kind) or not body[name]:
        raise _invalid(f"The field '{name}' is required and must be of type {kind.__name__}")
    return body[name]


def _invalid(message: str) -> ApiError:
    return ApiError(400, "InvalidInput", message)


def _uploaded_zip(request: Request) -> bytes:
    """Returns the connector package that a request brings as the part `file` of a form."""
    if request.headers.get_content_type() != "multipart/form-data":
        raise ApiError(415, "UnsupportedMediaType", "The content type must be multipart/form-data")
    header = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    form = BytesParser().parsebytes(header + request.body)
    for part in form.walk():
        if part.get_param("name", header="content-disposition") == "file":
            return _checked_zip(part)
    raise _invalid("The part 'file' is required")


def _checked_zip(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not zipfile.is_zipfile(io.BytesIO(content)):
        raise _invalid("The file must be a zip file")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if "connector.py" not in archive.namelist():
            raise _invalid("The file must contain connector.py")
    return content
