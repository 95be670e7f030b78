"""A report is sent to other people: no secret is in it."""

import base64
import json
from pathlib import Path

import pytest

from profiling.observation import Holding, Place
from profiling.secrets_masked import MASK, Masker, masked

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"


class TestSettings:
    @pytest.mark.parametrize(
        "name", ["password", "db_pw", "api_key", "apiKey", "client_secret", "TOKEN", "sas", "bearer", "webhook"]
    )
    def test_one_whose_name_is_of_a_secret_is_masked(self, name: str) -> None:
        assert masked({name: "x1"}) == {name: MASK}

    @pytest.mark.parametrize("name", ["primary_key", "key_columns", "tables", "page_rows", "token_url", "power"])
    def test_others_are_shown(self, name: str) -> None:
        assert masked({name: "id, at"}) == {name: "id, at"}

    def test_an_empty_secret_is_shown_as_empty(self) -> None:
        assert masked({"password": ""}) == {"password": ""}

    @pytest.mark.parametrize("value", ["AKIA0123456789abcdefWXYZ", "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.SflKxwRJSM"])
    def test_what_looks_like_a_key_under_another_name_is_masked(self, value: str) -> None:
        assert masked({"login": value}) == {"login": MASK}

    @pytest.mark.parametrize("password", ["pw", "p@ss", "p/w", "p:w"])
    def test_credentials_in_an_address_are_masked(self, password: str) -> None:
        assert masked({"url": f"https://ann:{password}@host/a?page=1&api_key=abc&x=2"}) == {
            "url": f"https://{MASK}@host/a?page=1&api_key={MASK}&x=2"
        }

    def test_those_inside_of_others_are_masked(self) -> None:
        shown = masked({"source": {"password": "hunter22", "table": "items"}, "tokens": ["abcd", "efgh"]})
        assert json.loads(shown["source"]) == {"password": MASK, "table": "items"}
        assert json.loads(shown["tokens"]) == [MASK, MASK]


class TestTexts:
    def test_secrets_are_masked_wherever_they_are(self) -> None:
        mask = Masker({"password": "hunter22", "table": "items"}).text
        assert mask("role ann, hunter22: items of postgres://ann:x@h") == (
            f"role ann, {MASK}: items of postgres://{MASK}@h"
        )

    @pytest.mark.parametrize("form", [KEY, repr(KEY), json.dumps(KEY), "kqhkiG9w0BAQEF", repr({"key": KEY})])
    def test_one_of_many_lines_is_masked_in_every_form(self, form: str) -> None:
        shown = Masker({"private_key": KEY}).text(f"refused: {form}")
        assert "MIIEvQ" not in shown
        assert "kqhkiG" not in shown

    @pytest.mark.parametrize(
        ("settings", "secret"),
        [
            ({"dsn": "host=db user=ann password=hunter22"}, "hunter22"),
            ({"database_dsn": "postgres://ann:hunter22@db/x"}, "hunter22"),
            ({"service_account_key": json.dumps({"private_key": "MIIEvQIBADANBg", "type": "x"})}, "MIIEvQIBADANBg"),
            ({"source": {"password": "hunter22"}}, "hunter22"),
        ],
    )
    def test_a_part_of_a_secret_is_masked_alone(self, settings: dict[str, object], secret: str) -> None:
        assert Masker(settings).text(f"cannot log in with {secret}!") == f"cannot log in with {MASK}!"

    def test_one_is_masked_in_an_address(self) -> None:
        assert Masker({"password": "p@ss&w rd"}).text("?x=p%40ss%26w+rd") == f"?x={MASK}"

    def test_a_header_is_masked(self) -> None:
        header = base64.b64encode(b"ann:hunter22").decode()
        mask = Masker({"user": "ann", "password": "hunter22"}).text
        assert mask(f"sent {header}") == f"sent {MASK}"
        assert mask("Authorization: Bearer abc.def-123") == f"Authorization: Bearer {MASK}"

    def test_tokens_of_the_state_are_masked_too(self) -> None:
        assert Masker({}, {"cursor": {"token": "abcdefgh"}}).text("at abcdefgh") == f"at {MASK}"

    def test_a_very_short_secret_does_not_mask_whole_words(self) -> None:
        assert Masker({"password": "a"}).text("a table") == "a table"

    def test_they_are_masked_in_whatever_holds_texts(self) -> None:
        held = (Holding(Place("hunter22.py", 3, "x = 'hunter22'"), 5, 1), {"hunter22": [Path("/a/hunter22")]}, 7)
        assert Masker({"password": "hunter22"}).all(held) == (
            Holding(Place(f"{MASK}.py", 3, f"x = '{MASK}'"), 5, 1),
            {MASK: [Path(f"/a/{MASK}")]},
            7,
        )
