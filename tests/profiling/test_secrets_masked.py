"""A report is sent to other people: no secret is in it."""

import pytest

from profiling.secrets_masked import MASK, masked, masker


@pytest.mark.parametrize(
    "name", ["password", "api_key", "apiKey", "client_secret", "TOKEN", "sas", "connection_string"]
)
def test_a_setting_whose_name_is_of_a_secret_is_masked(name: str) -> None:
    assert masked({name: "x1"}) == {name: MASK}


@pytest.mark.parametrize("name", ["primary_key", "key_columns", "tables", "page_rows", "token_url"])
def test_other_settings_are_shown(name: str) -> None:
    assert masked({name: "id, at"}) == {name: "id, at"}


def test_an_empty_secret_is_shown_as_empty() -> None:
    assert masked({"password": ""}) == {"password": ""}


def test_what_looks_like_a_key_under_another_name_is_masked() -> None:
    assert masked({"login": "AKIA0123456789abcdefWXYZ"}) == {"login": MASK}


def test_credentials_in_an_address_are_masked() -> None:
    assert masked({"url": "https://ann:pw@host/a?page=1&api_key=abc&x=2"}) == {
        "url": f"https://{MASK}@host/a?page=1&api_key={MASK}&x=2"
    }


def test_they_are_masked_in_texts_too() -> None:
    mask = masker({"password": "hunter22", "table": "items"})
    assert mask("role ann, hunter22: items of postgres://ann:x@h") == f"role ann, {MASK}: items of postgres://{MASK}@h"


def test_a_very_short_secret_does_not_mask_whole_words() -> None:
    assert masker({"password": "a"})("a table") == "a table"
