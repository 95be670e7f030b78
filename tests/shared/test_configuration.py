"""One declaration: parsed with every problem at once, asked for in the form, documented."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from shared.configuration import SettingsBase, setting
from shared.errors import ConfigurationError


@dataclass(frozen=True)
class Settings(SettingsBase):
    host: str = setting("Host of the server", example="db.example.com")
    port: int = setting("TCP port", default=5432, minimum=1, maximum=65535)
    share: float = setting("Part to read", default=1.0, minimum=0)
    password: str = setting("Password", default="", secret=True)
    pin: int = setting("Number that only the owner knows", default=0, secret=True)
    mode: Literal["full", "incremental"] = setting("How to read", default="full")
    verbose: bool = setting("Say more", default=False)
    tables: tuple[str, ...] = setting("Tables to read", default=("a", "b"))
    note: str = setting(
        "A note", default="", lines=True, check=lambda text: "expected no key" if "KEY" in text else None
    )
    even: int = setting(
        "An even number", default=2, check=lambda value: "expected an even number" if value % 2 else None
    )

    def problems(self) -> list[str]:
        return ["mode: full needs port 5432"] if self.mode == "full" and self.port == 1 else []


def problems_of(**configuration: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        Settings.parse(configuration)
    return str(raised.value)


class TestParsing:
    def test_text_becomes_what_the_annotation_says(self) -> None:
        settings = Settings.parse(
            {"host": "h", "port": " 7 ", "share": "0.5", "mode": "incremental", "verbose": "TRUE", "tables": "x, y,"}
        )
        assert settings == Settings(host="h", port=7, share=0.5, mode="incremental", verbose=True, tables=("x", "y"))

    def test_an_empty_setting_is_its_default(self) -> None:
        assert Settings.parse({"host": "h", "port": " ", "tables": " "}) == Settings(host="h")

    def test_a_name_given_twice_counts_once_and_commas_alone_are_nothing(self) -> None:
        assert Settings.parse({"host": "h", "tables": "x,x,y"}).tables == ("x", "y")
        assert Settings.parse({"host": "h", "tables": " , "}).tables == ("a", "b")

    def test_text_keeps_its_blanks(self) -> None:
        assert Settings.parse({"host": "h", "password": " x "}).password == " x "


class TestProblems:
    def test_every_one_is_told_at_once_each_with_what_is_expected(self) -> None:
        told = problems_of(port="0", share="inf", mode="fast", verbose="maybe", even="3", hots="h")
        assert told.splitlines() == [
            "7 settings need attention:",
            "- even: expected an even number, got '3'",
            "- host: is required: Host of the server",
            "- hots: is not a setting; did you mean host?",
            "- mode: expected one of full, incremental, got 'fast'",
            "- port: expected a whole number from 1 to 65535, got '0'",
            "- share: expected a number of at least 0, got 'inf'",
            "- verbose: expected true or false, got 'maybe'",
        ]

    def test_a_setting_far_from_all_names_them(self) -> None:
        assert "the settings are host, port" in problems_of(host="h", xyz="1")

    def test_no_secret_is_repeated(self) -> None:
        assert "hunter2" not in problems_of(host="h", pin="hunter2")

    @pytest.mark.parametrize("port", ["5_432", "\u0663", "0x10", "1e3", "5432.0"])
    def test_only_plain_digits_are_a_whole_number(self, port: str) -> None:
        assert "port: expected a whole number" in problems_of(host="h", port=port)

    @pytest.mark.parametrize("host", ["a\0b", "a\nb", "\ud800"])
    def test_characters_that_name_nothing_are_refused(self, host: str) -> None:
        assert "host: holds a character that nothing can be named with" in problems_of(host=host)

    def test_an_address_is_shown_without_its_password(self) -> None:
        assert "hunter2" not in problems_of(host="h", port="https://user:hunter2@host")

    @pytest.mark.parametrize("given", ["user:hunter2@host", "x//user:hunter2@host", "host=h password=hunter2"])
    def test_what_looks_like_the_arguments_of_a_connection_is_not_repeated(self, given: str) -> None:
        told = problems_of(host="h", port=given)
        assert "port: expected a whole number" in told
        assert "hunter2" not in told

    def test_text_of_several_lines_is_not_repeated(self) -> None:
        assert "hunter2" not in problems_of(host="h", note="-----BEGIN KEY-----\nhunter2")

    def test_a_secret_is_in_no_repr(self) -> None:
        assert "hunter2" not in repr(Settings.parse({"host": "h", "password": "hunter2"}))

    def test_a_value_that_is_no_text_is_told(self) -> None:
        assert "port: expected text in quotes" in problems_of(host="h", port=5432)

    def test_settings_that_are_each_right_and_wrong_together(self) -> None:
        assert "1 setting needs attention:\n- mode: full needs port 5432" in problems_of(host="h", port="1")


class TestWhatIsMadeOfIt:
    def test_sample_has_every_setting_as_text_and_no_secret(self) -> None:
        assert Settings.sample() == {
            "host": "db.example.com", "port": "5432", "share": "1.0", "password": "", "pin": "", "mode": "full",
            "verbose": "false", "tables": "a,b", "note": "", "even": "2",
        }  # fmt: skip

    def test_sample_can_be_parsed(self) -> None:
        assert Settings.parse(Settings.sample()) == Settings(host="db.example.com")

    def test_form_masks_secrets_and_offers_choices(self) -> None:
        fields = {field.name: field for field in Settings.form().to_response().fields}
        assert fields["password"].text_field == 1
        assert [option.value for option in fields["mode"].dropdown_options] == ["full", "incremental"]
        assert fields["verbose"].toggle
        assert fields["host"].required
        assert not fields["port"].required

    def test_table_has_a_line_for_every_setting(self) -> None:
        table = Settings.markdown_table()
        assert "| `host` | Host of the server | text | required |" in table
        assert "| `port` | TCP port | a whole number from 1 to 65535 | `5432` |" in table
        assert "| `password` | Password | secret text | empty |" in table
