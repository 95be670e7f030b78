"""connectors/rest_api against Fivetran's practice API, and against servers that misbehave."""

from datetime import datetime
from typing import Any

import pytest

from shared import checkpoints
from shared.errors import ConfigurationError, SourceError
from tests import stop_and_resume
from tests.loading import load_connector
from tests.recording import Destination, sync
from tests.sources import faulty_http
from tests.sources.faulty_http import Answer, RateLimited, ServerError
from tests.sources.playground import Playground

connector = load_connector("rest_api")

LISTS = ("users_by_next_link", "users_by_page_number", "users_by_offset", "users_by_keyset", "users_since")


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


def configuration(playground: Playground, **settings: str) -> dict[str, str]:
    return {"base_url": playground.url, **settings}


def as_sent(record: dict[str, Any]) -> dict[str, str | None]:
    """A record of the API as the destination has it: times in UTC, everything else as text."""
    return {name: value if value is None else str(value) for name, value in record.items()} | {"_undeclared": None}


def by_key(rows: list[dict[str, Any]], *key: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [str(row[column]) for column in key])


def assert_equal_to_source(destination: Destination, playground: Playground) -> None:
    source = playground.dump()
    for table in LISTS:
        assert by_key(destination.table(table), "id") == by_key([as_sent(item) for item in source["items"]], "id"), (
            table
        )
    companies = [as_sent(company) for company in source["companies"]]
    assert by_key(destination.table("companies"), "company_id") == by_key(companies, "company_id")
    departments, key = [as_sent(item) for item in source["departments"]], ("company_id", "department_id")
    assert by_key(destination.table("departments"), *key) == by_key(departments, *key)


class TestEveryRecordArrives:
    def test_through_all_paginations_and_cursors_and_after_changes(self, playground: Playground) -> None:
        destination = Destination()
        sync(connector, configuration(playground), destination)
        assert_equal_to_source(destination, playground)
        playground.change(7)
        second = sync(connector, configuration(playground), destination)
        assert_equal_to_source(destination, playground)
        for table in LISTS:
            assert 8 <= second.upserts[table] <= 10, "what changed, and at most what shares the last cursor"

    def test_a_second_sync_with_nothing_new_repeats_only_the_last_cursor(self, playground: Playground) -> None:
        destination = Destination()
        sync(connector, configuration(playground), destination)
        second = sync(connector, configuration(playground), destination)
        for table in LISTS:
            latest = max(datetime.fromisoformat(row["updatedAt"]) for row in destination.table(table))
            at_latest = [row for row in destination.table(table) if datetime.fromisoformat(row["updatedAt"]) == latest]
            assert second.upserts.get(table, 0) <= len(at_latest) + 10

    def test_types_are_declared_for_every_column(self, playground: Playground) -> None:
        for table in connector.schema(configuration(playground)):
            assert set(table["primary_key"]) <= set(table["columns"])
            assert table["columns"]["updatedAt"] == "UTC_DATETIME"
            assert table["columns"]["_undeclared"] == "JSON"


class TestAuthentication:
    """Each of the Playground's ways, through update(): the table `members` is what that way opens."""

    def members(self, playground: Playground, **settings: str) -> list[dict[str, Any]]:
        return sync(connector, configuration(playground, **settings)).destination.table("members")

    def test_none(self, playground: Playground) -> None:
        assert self.members(playground) == []

    def test_http_basic(self, playground: Playground) -> None:
        username, password = (playground.credentials[f"HTTP_BASIC_{name}"] for name in ("USERNAME", "PASSWORD"))
        assert len(self.members(playground, authentication="basic", username=username, password=password)) == 20

    def test_http_bearer(self, playground: Playground) -> None:
        token = playground.credentials["HTTP_BEARER_TOKEN"]
        assert len(self.members(playground, authentication="bearer", token=token)) == 20

    def test_api_key(self, playground: Playground) -> None:
        token = playground.credentials["API_KEY"]
        assert len(self.members(playground, authentication="api_key", token=token)) == 20

    def test_session_token(self, playground: Playground) -> None:
        username, password = (playground.credentials[f"SESSION_AUTH_{name}"] for name in ("USERNAME", "PASSWORD"))
        members = self.members(playground, authentication="session_token", username=username, password=password)
        assert len(members) == 20

    @pytest.mark.parametrize("way", ["basic", "bearer", "api_key", "session_token"])
    def test_wrong_credentials_stop_the_sync_and_are_not_shown(self, playground: Playground, way: str) -> None:
        secrets = {"username": "hunter", "password": "hunter2", "token": "hunter2"}
        with pytest.raises(SourceError, match=r"status 401 \(check the credentials") as told:
            self.members(playground, authentication=way, **secrets)
        assert "hunter2" not in str(told.value)


class TestStopAndResume:
    def test_stopped_at_any_operation_it_ends_as_if_nothing_had_happened(self) -> None:
        """Against a server whose records stay as they are: the Playground changes some with every request."""
        with faulty_http.start(_steady_playground) as server:
            assert stop_and_resume.check(connector, {"base_url": server.url}) > 100

    def test_dying_again_and_again_still_ends(self) -> None:
        with faulty_http.start(_steady_playground) as server:
            assert stop_and_resume.check_dying_again_and_again(connector, {"base_url": server.url}, operations=150) > 3


def _steady_playground(request: Any) -> Answer:
    """The Playground's endpoints, from its documentation, over 120 users, 2 companies and 4 departments."""
    since = request.query.get("since") or request.query.get("updated_since") or ""
    stamp = {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z"}
    users = [{**stamp, "id": f"{n:03}", "updatedAt": f"2026-01-02T{n // 60:02}:{n % 60:02}:00Z"} for n in range(120)]
    users = [user for user in users if user["updatedAt"] >= since]
    query, size = request.query, 50
    if request.path == "/pagination/next_page_url":
        page = int(query.get("page", 1))
        more = f"{request.path}?page={page + 1}" if page * size < len(users) else None
        return Answer(
            {"data": users[(page - 1) * size : page * size], "next_page_url": more, "total_items": len(users)}
        )
    if request.path == "/pagination/page_number":
        page = int(query["page"])
        return Answer(
            {
                "data": users[(page - 1) * size : page * size],
                "total_pages": -(-len(users) // size),
                "total_items": len(users),
            }
        )
    if request.path == "/pagination/offset":
        start = int(query["offset"])
        return Answer({"data": users[start : start + size], "total": len(users)})
    if request.path == "/pagination/keyset":
        start = int(query.get("scroll_param", 0))
        more = str(start + size) if start + size < len(users) else None
        return Answer({"data": users[start : start + size], "scroll_param": more})
    if request.path == "/cursors/companies":
        return Answer({"data": [{"company_id": number, "company_name": "c", **stamp} for number in (1, 2)]})
    if request.path.endswith("/departments"):
        company = int(request.path.split("/")[2])
        parts = [{"company_id": company, "department_id": n, "department_name": "d", **stamp} for n in (1, 2)]
        return Answer({"data": parts})
    return Answer({"data": users})


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "problem"),
        [
            ({}, "base_url: is required"),
            ({"base_url": "127.0.0.1:5001"}, "base_url: expected an address like https://host"),
            ({"base_url": "http://127.0.0.1:138081"}, "base_url: expected an address like https://host"),
            ({"base_url": "http://[::1"}, "base_url: expected an address like https://host"),
            ({"base_url": "https://user:secret@host"}, "base_url: expected an address like https://host"),
            ({"base_url": "http://api.example.com"}, "base_url: http:// sends everything readable"),
            ({"base_url": "https://h", "authentication": "magic"}, "authentication: expected one of none, basic"),
            ({"base_url": "https://h", "authentication": "basic"}, "username: is required for authentication basic"),
            ({"base_url": "https://h", "authentication": "bearer"}, "token: is required for authentication bearer"),
            ({"base_url": "https://h", "tokn": "x"}, "tokn: is not a setting; did you mean token?"),
        ],
    )
    def test_a_wrong_setting_is_told_before_anything_is_read(self, settings: dict[str, str], problem: str) -> None:
        with pytest.raises(ConfigurationError, match=problem.replace("?", r"\?")):
            connector.schema(settings)

    def test_plaintext_may_be_allowed_in_as_many_words(self) -> None:
        assert connector.schema({"base_url": "http://api.example.com", "allow_plaintext": "true"})

    def test_without_a_server_the_error_says_how_to_start_one(self) -> None:
        with faulty_http.start() as server:
            url = server.url
        with pytest.raises(SourceError, match="refused after 3 tries; the practice sources .* make sources"):
            sync(connector, {"base_url": url})

    def test_an_api_that_asks_to_come_back_much_later_ends_cleanly(self) -> None:
        users = {"data": [{"id": "1", "updatedAt": "2026-01-02T00:00:00Z"}], "next_page_url": None}
        with faulty_http.start() as server:
            server.script("/pagination/next_page_url", [Answer(users)])
            server.script("/pagination/page_number", [RateLimited(retry_after="86400")])
            sink = sync(connector, {"base_url": server.url})
        assert any("come back in 86400 s" in warning for warning in sink.warnings)
        assert list(sink.destination.committed["streams"]) == ["users_by_next_link"]

    def test_a_server_that_fails_for_good_leaves_the_state_where_it_was(self) -> None:
        with faulty_http.start() as server, pytest.MonkeyPatch.context() as patch:
            patch.setattr("shared.http_client._LONGEST_WAIT", 0.01)
            server.script("/pagination/next_page_url", [ServerError()], repeat=True)
            destination = Destination()
            with pytest.raises(SourceError, match="/pagination/next_page_url.* failed after 6 tries: status 500"):
                sync(connector, {"base_url": server.url}, destination)
        assert destination.committed == {}


class TestSetupForm:
    def test_reads_a_first_page(self, playground: Playground) -> None:
        assert connector.first_page_test(configuration(playground)).success

    def test_says_what_is_wrong(self, playground: Playground) -> None:
        result = connector.first_page_test(configuration(playground, authentication="bearer", token="wrong"))
        assert "status 401" in result.failure
