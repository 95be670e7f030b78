"""What the connector is: its settings. Its tables are those that the database's catalogue names (catalog.py)."""

import re
from dataclasses import dataclass
from typing import Literal

from shared.configuration import SettingsBase, setting


def _without_port(host: str) -> str | None:
    return "expected the host alone: the port is a setting of its own" if re.fullmatch(r"[^:/]+:[0-9]+", host) else None


@dataclass(frozen=True)
class Settings(SettingsBase):
    host: str = setting("Host name or address of the server", example="127.0.0.1", check=_without_port)
    port: int = setting("TCP port of the server", default=5432, minimum=1, maximum=65535)
    database: str = setting("Database to read", example="tpch")
    user: str = setting("User that may connect to the database and read its tables", example="fivetran_reader")
    password: str = setting("Password of the user", default="", secret=True)
    sslmode: Literal["require", "verify-ca", "verify-full"] = setting(
        "How TLS is used; a server on this machine may do without", default="require"
    )
    allow_plaintext: bool = setting("Read from another machine without TLS, readable on the way", default=False)
    schemas: tuple[str, ...] = setting("Schemas whose tables are delivered", default=("public",))
    page_bytes: int = setting(
        "Bytes of values in memory as one page", default=4_000_000, minimum=10_000, maximum=100_000_000
    )
