"""What the connector is: its settings. Its tables are those that the database's catalogue names (catalog.py)."""

import re
import ssl
import textwrap
from dataclasses import dataclass
from typing import Literal

from selection import is_wild, parts_of
from shared.configuration import SettingsBase, setting


def _host(host: str) -> str | None:
    if re.search(r"://|[@=\s]", host) and not host.startswith("/"):
        return "expected the host alone: user, password, port and database are settings of their own"
    return "expected the host alone: the port is a setting of its own" if re.fullmatch(r"[^:/]+:[0-9]+", host) else None


def _name(name: str) -> str | None:
    """An address has a password in it, and names are shown in errors."""
    return "expected a name, not an address" if "://" in name else None


def _tables(patterns: tuple[str, ...]) -> str | None:
    return _wrong(patterns, 2, "schema.table")


def _columns(patterns: tuple[str, ...]) -> str | None:
    return _wrong(patterns, 3, "schema.table.column")


def _keys(keys: tuple[str, ...]) -> str | None:
    if any("=" not in key or not all(key.partition("=")[2].split("+")) for key in keys):
        return "expected schema.table=column+column"
    return _wrong(tuple(key.partition("=")[0] for key in keys), 2, "schema.table before the =")


def _wrong(patterns: tuple[str, ...], parts: int, form: str) -> str | None:
    return None if all(len(parts_of(pattern)) == parts for pattern in patterns) else f"expected {form}, with * for any"


def pem(text: str) -> str:
    """The certificates in a text, each in lines as it should be, however a form has changed its line breaks."""
    blocks = re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", text, re.DOTALL)
    bodies = (textwrap.wrap(re.sub(r"\\[rn]|\s", "", block), 64) for block in blocks)
    return "".join(
        "\n".join(["-----BEGIN CERTIFICATE-----", *body, "-----END CERTIFICATE-----", ""]) for body in bodies
    )


def _authority(text: str) -> str | None:
    try:
        ssl.create_default_context(cadata=pem(text) or "none")
    except (ssl.SSLError, TypeError):  # TypeError: other characters than ASCII's
        return "expected a certificate as PEM text, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
    return None


@dataclass(frozen=True)
class Settings(SettingsBase):
    host: str = setting("Host name or address of the server", example="127.0.0.1", check=_host)
    port: int = setting("TCP port of the server", default=5432, minimum=1, maximum=65535)
    database: str = setting("Database to read", example="tpch", check=_name)
    user: str = setting(
        "User that may connect to the database and read its tables", example="fivetran_reader", check=_name
    )
    password: str = setting("Password of the user", default="", secret=True)
    sslmode: Literal["require", "verify-ca", "verify-full"] = setting(
        "How TLS is used; a server on this machine may do without", default="require"
    )
    sslrootcert: str = setting(
        "Certificate of the authority that signed the server's, as PEM text; in one line, with blanks or \\n for its "
        "line breaks. Without one, verify-full trusts the authorities that this machine trusts",
        default="",
        lines=True,
        check=_authority,
    )
    allow_plaintext: bool = setting("Read from another machine without TLS, readable on the way", default=False)
    tables: tuple[str, ...] = setting("Tables to deliver", default=("public.*",), check=_tables)
    exclude_tables: tuple[str, ...] = setting("Tables to leave out of those", default=(), check=_tables)
    keys: tuple[str, ...] = setting(
        "Keys of tables and views that have none in the database: schema.table=column+column", default=(), check=_keys
    )
    include_columns: tuple[str, ...] = setting(
        "Columns to deliver of the tables named here; other tables are delivered with all", default=(), check=_columns
    )
    exclude_columns: tuple[str, ...] = setting("Columns to leave out", default=(), check=_columns)
    hash_columns: tuple[str, ...] = setting(
        "Columns delivered as the SHA-256 of hash_salt and the value", default=(), check=_columns
    )
    hash_salt: str = setting("What is hashed before each value of hash_columns", default="", secret=True)
    text_columns: tuple[str, ...] = setting(
        "Columns delivered as the text that PostgreSQL writes, whatever their type", default=(), check=_columns
    )
    mode: Literal["changes", "full", "log"] = setting(
        "How the next sync finds what is new: rows written since, all rows, or the server's change log",
        default="changes",
    )
    full_tables: tuple[str, ...] = setting(
        "Tables that are read whole by every sync, whatever the mode", default=(), check=_tables
    )
    cursor_columns: tuple[str, ...] = setting(
        "Columns that grow with every change, by which their tables are read", default=(), check=_columns
    )
    cursor_overlap: int = setting(
        "How far below the newest cursor each sync reads again, for what commits late: seconds, or units of a number",
        default=300,
        minimum=0,
    )
    soft_delete_columns: tuple[str, ...] = setting(
        "Columns that are true, or not NULL, in rows that count as deleted", default=(), check=_columns
    )
    publication: str = setting("Publication that mode log reads", default="fivetran_connector")
    slot: str = setting(
        "Replication slot that mode log reads: one of its own per connection", default="fivetran_connector"
    )
    page_bytes: int = setting(
        "Bytes of values in memory as one page", default=4_000_000, minimum=10_000, maximum=100_000_000
    )
    snapshot_seconds: int = setting(
        "How long a transaction on the source may last before it is begun anew", default=300, minimum=1
    )

    def problems(self) -> list[str]:
        problems = []
        if self.hash_columns and not self.hash_salt:
            problems.append("hash_salt: is required with hash_columns: without it, values can be guessed from hashes")
        if self.sslmode == "verify-ca" and not self.sslrootcert:
            problems.append("sslrootcert: is required with sslmode verify-ca")
        if not re.fullmatch(r"[a-z0-9_]{1,63}", self.slot):
            problems.append("slot: expected lower-case letters, digits and underscores")
        return problems

    @property
    def one_schema(self) -> bool:
        """Whether all tables are of one schema, by the patterns alone: a schema that comes later changes nothing."""
        schemas = {parts_of(pattern)[0] for pattern in self.tables}
        return len(schemas) == 1 and not is_wild(schemas.pop())
