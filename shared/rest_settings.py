"""The settings that every connector of a REST API has, and what follows from them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared import topology
from shared.authentication import Authentication
from shared.configuration import SettingsBase, setting
from shared.errors import is_this_machine
from shared.http_client import HttpClient
from shared.topology import Table


def is_address(url: str) -> str | None:
    """What is wrong with the address of an API, or None."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is none, or half of an IPv6 address
        usable = False
    return None if usable and not re.search(r"[\s?#]", url) else "expected an address like https://host"


@dataclass(frozen=True)
class RestSettings(SettingsBase):
    base_url: str = setting("Address of the API", example="https://api.example.com", check=is_address)
    allow_plaintext: bool = setting("Send data over http:// to another machine, readable on the way", default=False)
    exclude_tables: tuple[str, ...] = setting("Tables to leave out", default=())
    enable_parallel_processing: bool = setting("Make calls side by side; the rows are the same without", default=True)
    max_concurrent_api_calls: int = setting("Calls in flight at most", default=10, minimum=1, maximum=50)
    requests_per_second: float = setting(
        "Requests a second at most, 0 for as many as the API takes: what it refuses as too many is learnt from",
        default=0.0,
        minimum=0,
    )

    def problems(self) -> list[str]:
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and not is_this_machine(parts.hostname or "") and not self.allow_plaintext:
            return ["base_url: http:// sends everything readable: use https://, or set allow_plaintext to true"]
        return []

    @property
    def workers(self) -> int:
        """Threads that make calls."""
        return self.max_concurrent_api_calls if self.enable_parallel_processing else 1

    def chosen(self, tables: Sequence[Table]) -> list[Table]:
        """The tables without those that are to be left out; raises ConfigurationError for a name that is none."""
        return topology.without(tables, self.exclude_tables)

    def client(self, auth: Authentication | None) -> HttpClient:
        """A client of the API; use it in a `with` block."""
        return HttpClient(
            self.base_url,
            auth=auth,
            connections=self.workers + 1,  # one for the list whose records the calls are made below
            requests_per_second=self.requests_per_second,
            allow_plaintext=self.allow_plaintext,
        )
