"""What the connector is: its settings, and the tables of the API it reads, here the Fivetran API Playground.

This is the file to change for another API. What is the Playground's own: the tables, the names of the columns, and how
`authentication` builds a header or a login.
"""

from dataclasses import dataclass
from typing import Literal

from shared.authentication import ApiKey, Authentication, Basic, Bearer, SessionToken
from shared.configuration import setting
from shared.pagination import NextLink, Offset, PageNumber, SinglePage, Token
from shared.rest_settings import RestSettings, is_address
from shared.topology import Cursor, Table, check_tables


@dataclass(frozen=True)
class Settings(RestSettings):
    base_url: str = setting("Address of the API", example="http://127.0.0.1:5001", check=is_address)
    authentication: Literal["none", "basic", "bearer", "api_key", "session_token"] = setting(
        "How the API knows who asks", default="none"
    )
    username: str = setting("User for basic and session_token", default="")
    password: str = setting("Password for basic and session_token", default="", secret=True)
    token: str = setting("Token for bearer, key for api_key", default="", secret=True)

    def problems(self) -> list[str]:
        found = super().problems()
        by_password = self.authentication in ("basic", "session_token")
        needed = ("username", "password") if by_password else ()
        found += [
            f"{name}: is required for authentication {self.authentication}"
            for name in needed
            if not getattr(self, name)
        ]
        if self.authentication in ("bearer", "api_key") and not self.token:
            found.append(f"token: is required for authentication {self.authentication}")
        return found


USER_COLUMNS = {
    "id": "STRING",
    "name": "STRING",
    "email": "STRING",
    "address": "STRING",
    "company": "STRING",
    "job": "STRING",
    "createdAt": "UTC_DATETIME",
    "updatedAt": "UTC_DATETIME",
}

# Pages are asked for in the order of creation, which no later change disturbs: in the order of updates, a record that
# changes moves to the end of the list and moves another one out of the page that comes next.
BY_CREATION = {"order_by": "createdAt", "order_type": "asc"}
UPDATED_SINCE = Cursor(field="updatedAt", parameter="updated_since")

TABLES = check_tables(
    [
        Table(
            "users_by_next_link",
            "/pagination/next_page_url",
            primary_key=("id",),
            columns=USER_COLUMNS,
            records="data",
            pagination=NextLink(next_link="next_page_url", total="total_items"),
            params={**BY_CREATION, "per_page": "50"},
            cursor=UPDATED_SINCE,
        ),
        Table(
            "users_by_page_number",
            "/pagination/page_number",
            primary_key=("id",),
            columns=USER_COLUMNS,
            records="data",
            pagination=PageNumber(total_pages="total_pages", total="total_items", size_parameter="per_page", size=50),
            params=BY_CREATION,
            cursor=UPDATED_SINCE,
        ),
        Table(
            "users_by_offset",
            "/pagination/offset",
            primary_key=("id",),
            columns=USER_COLUMNS,
            records="data",
            pagination=Offset(size=50, total="total"),
            params=BY_CREATION,
            cursor=UPDATED_SINCE,
        ),
        Table(
            "users_by_keyset",
            "/pagination/keyset",
            primary_key=("id",),
            columns=USER_COLUMNS,
            records="data",
            pagination=Token(next_token="scroll_param", parameter="scroll_param", alone=True),
            cursor=UPDATED_SINCE,
        ),
        Table(
            "users_since",
            "/incremental/timestamp",
            primary_key=("id",),
            columns=USER_COLUMNS,
            records="data",
            pagination=SinglePage(),
            cursor=Cursor(field="updatedAt", parameter="since"),
        ),
        Table(
            "companies",
            "/cursors/companies",
            primary_key=("company_id",),
            columns={
                "company_id": "LONG",
                "company_name": "STRING",
                "createdAt": "UTC_DATETIME",
                "updatedAt": "UTC_DATETIME",
            },
            records="data",
            pagination=SinglePage(),
            # Without a parameter: a company that did not change may still have departments that did.
            cursor=Cursor(field="updatedAt"),
            children=(
                Table(
                    "departments",
                    "/cursors/{company_id}/departments",
                    primary_key=("company_id", "department_id"),
                    columns={
                        "company_id": "LONG",
                        "department_id": "LONG",
                        "department_name": "STRING",
                        "createdAt": "UTC_DATETIME",
                        "updatedAt": "UTC_DATETIME",
                    },
                    records="data",
                    pagination=SinglePage(),
                    cursor=UPDATED_SINCE,
                ),
            ),
        ),
    ]
)

# The Playground shows some of its users to whoever authenticates: one endpoint a way.
_MEMBERS_PATH = {
    "basic": "/auth/http_basic",
    "bearer": "/auth/http_bearer",
    "api_key": "/auth/api_key",
    "session_token": "/auth/session_token/data",
}


def tables(settings: Settings) -> list[Table]:
    """The tables to deliver. `members` only with an authentication, and first: wrong credentials are told at once."""
    path = _MEMBERS_PATH.get(settings.authentication)
    if path is None:
        return list(TABLES)
    members = Table("members", path, ("id",), USER_COLUMNS, records="data", pagination=SinglePage())
    return [members, *TABLES]


def authentication(settings: Settings) -> Authentication | None:
    """How requests to the API prove who asks."""
    if settings.authentication == "basic":
        return Basic(settings.username, settings.password)
    if settings.authentication == "bearer":
        return Bearer(settings.token)
    if settings.authentication == "api_key":
        return ApiKey(settings.token, header="Authorization", prefix="apiKey ")
    if settings.authentication == "session_token":
        credentials = {"username": settings.username, "password": settings.password}
        return SessionToken("/auth/session_token/login", credentials)
    return None
