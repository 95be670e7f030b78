"""One declaration of a connector's settings: what is parsed, asked for in the setup form, and documented.

    @dataclass(frozen=True)
    class Settings(SettingsBase):
        host: str = setting("Host name of the server", example="db.example.com")
        port: int = setting("TCP port of the server", default=5432, minimum=1, maximum=65535)
        password: str = setting("Password of the user", default="", secret=True)

    Settings.parse({"host": "db.example.com", "port": "5433"}).port == 5433

Fivetran hands every value over as a string. A field's annotation says what it becomes: str, int, float, bool,
a tuple of strings (separated by commas), or one of a Literal's choices. An empty string counts as not given.
"""

import dataclasses
import difflib
import functools
import math
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from fivetran_connector_sdk import ConfigurationForm, Test, form_field

from shared.errors import ConfigurationError, ConnectorError, redacted

_REQUIRED = object()
_UNUSABLE = "\0\r\n"
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TELLTALE = re.compile("passw|pwd|secret", re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}


def setting(
    description: str,
    *,
    default: Any = _REQUIRED,
    example: str = "",
    secret: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    lines: bool = False,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A field of a settings dataclass.

    default   the value when the setting is not given; without one the setting is required
    example   what configuration.json and the setup form show
    secret    shown in no message and no repr, masked in the form, empty in configuration.json
    lines     text may have several lines
    check     says what is wrong with a parsed value, or None
    """
    metadata = {
        "description": description,
        "example": example,
        "secret": secret,
        "minimum": minimum,
        "maximum": maximum,
        "lines": lines,
        "check": check,
        "required": default is _REQUIRED,
    }
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata, kw_only=True, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, kw_only=True, repr=not secret)


def setup_test(check: Callable[[dict[str, str]], None]) -> Callable[[dict[str, str]], Any]:
    """Makes a test of the setup form out of a function that raises ConnectorError for what is wrong."""

    @functools.wraps(check)
    def test(configuration: dict[str, str]) -> Any:
        try:
            check(configuration)
        except ConnectorError as error:
            return Test().failure(str(error))
        return Test().success()

    return test


@dataclasses.dataclass(frozen=True)
class SettingsBase:
    """Base of a connector's settings; see the module's docstring."""

    @classmethod
    def parse(cls, configuration: Mapping[str, str]) -> Self:
        """The settings from the strings that Fivetran hands over.

        Raises ConfigurationError with everything that is wrong, each with what is expected; no secret is repeated.
        """
        fields, values, problems = cls._fields(), {}, []
        for name in configuration.keys() - fields.keys():
            close = difflib.get_close_matches(name, fields, n=1)
            meant = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(fields)}"
            problems.append(f"{name}: is not a setting; {meant}")
        for name, (kind, field) in fields.items():
            try:
                values[name] = _value(configuration.get(name, ""), kind, field)
            except ValueError as problem:
                problems.append(f"{name}: {problem}")
        settings = None if problems else cls(**values)
        problems += settings.problems() if settings else []
        if problems or not settings:
            count = "1 setting needs" if len(problems) == 1 else f"{len(problems)} settings need"
            raise ConfigurationError("\n".join([f"{count} attention:", *(f"- {line}" for line in sorted(problems))]))
        return settings

    def problems(self) -> list[str]:
        """What is wrong with settings that are each right: lines that begin with a setting's name."""
        return []

    @classmethod
    def form(cls, tests: Mapping[str, Callable[[dict[str, str]], Any]] | None = None) -> ConfigurationForm:
        """The setup form that Fivetran shows, with `tests` (label to function) that it runs."""
        form = ConfigurationForm()
        for name, (kind, field) in cls._fields().items():
            form.add_field(_form_field(name, kind, field))
        for label, test in (tests or {}).items():
            form.add_test(label=label, func=test)
        return form

    @classmethod
    def sample(cls) -> dict[str, str]:
        """What the connector's configuration.json holds: every setting, its example or default, no secret."""
        return {
            name: "" if field.metadata["secret"] else field.metadata["example"] or _text(field.default)
            for name, (_, field) in cls._fields().items()
        }

    @classmethod
    def markdown_table(cls) -> str:
        """The settings as the table that the connector's README shows."""
        lines = ["| setting | what it is | expected | default |", "|---|---|---|---|"]
        for name, (kind, field) in cls._fields().items():
            default = "required" if field.metadata["required"] else f"`{_text(field.default)}`".replace("``", "empty")
            expected = _expected(kind, field).replace("|", "\\|")
            lines.append(f"| `{name}` | {field.metadata['description']} | {expected} | {default} |")
        return "\n".join(lines) + "\n"

    @classmethod
    def _fields(cls) -> dict[str, tuple[Any, "dataclasses.Field[Any]"]]:
        kinds = typing.get_type_hints(cls)
        return {field.name: (kinds[field.name], field) for field in dataclasses.fields(cls)}


def _value(text: str, kind: Any, field: "dataclasses.Field[Any]") -> Any:
    """The parsed value; raises ValueError with what is expected, and what was given unless it is a secret."""
    if not isinstance(text, str):
        raise ValueError(f"expected text in quotes, as every value in configuration.json, got {type(text).__name__}")
    if not (text if kind is str else text.strip(" ,\t\r\n")):  # for text, blanks are a value: a delimiter may be one
        if field.metadata["required"]:
            raise ValueError(f"is required: {field.metadata['description']}")
        return field.default
    unusable = "\0" if field.metadata["lines"] else _UNUSABLE
    if not text.isprintable() and any(character in unusable or not _is_character(character) for character in text):
        raise ValueError(
            "holds a character that nothing can be named with (NUL, a line break, half of a surrogate pair)"
        )
    given = _given(text, field)
    try:
        value = _parsed(text, kind)
    except ValueError:
        raise ValueError(f"expected {_expected(kind, field)}{given}") from None
    if isinstance(value, int | float) and not _within(value, field):
        raise ValueError(f"expected {_expected(kind, field)}{given}")
    if field.metadata["check"] and (problem := field.metadata["check"](value)):
        raise ValueError(f"{problem}{given}")
    return value


def _given(text: str, field: "dataclasses.Field[Any]") -> str:
    """What was given, for a message; nothing of a secret, nor of what may hold one that was put in the wrong place:
    text of several lines (a private key for a certificate), an address with a user, arguments of a connection."""
    shown = redacted(text) if "//" in text or "@" in text else repr(text)
    hidden = field.metadata["secret"] or field.metadata["lines"] or "@" in shown or _TELLTALE.search(shown)
    return "" if hidden else f", got {shown}"


def _parsed(text: str, kind: Any) -> Any:
    if kind is str:
        return text
    text = text.strip()
    if typing.get_origin(kind) is tuple:
        return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if typing.get_origin(kind) is Literal:
        if text not in typing.get_args(kind):
            raise ValueError
        return text
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[text.lower()]
    if not _NUMBER.fullmatch(text):  # int() also takes underscores and the digits of other scripts
        raise ValueError
    return kind(text)


def _is_character(character: str) -> bool:
    return not "\ud800" <= character <= "\udfff"


def _within(value: float, field: "dataclasses.Field[Any]") -> bool:
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    return math.isfinite(value) and (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _expected(kind: Any, field: "dataclasses.Field[Any]") -> str:
    """In words, what a setting takes."""
    if kind is bool:
        return "true or false"
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "names separated by commas"
    if kind is str:
        return "secret text" if field.metadata["secret"] else "text"
    number = "a whole number" if kind is int else "a number"
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    if minimum is not None and maximum is not None:
        return f"{number} from {minimum} to {maximum}"
    return number if minimum is None else f"{number} of at least {minimum}"


def _text(value: Any) -> str:
    """A default as it would be written in configuration.json."""
    if value is dataclasses.MISSING:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _form_field(name: str, kind: Any, field: "dataclasses.Field[Any]") -> form_field.FormField:
    label = name.replace("_", " ").capitalize()
    description, required = field.metadata["description"], field.metadata["required"]
    if kind is bool:
        return form_field.ToggleField(name, label, description=description, required=required)
    if typing.get_origin(kind) is Literal:
        options = [form_field.DropdownFieldParam(choice) for choice in typing.get_args(kind)]
        return form_field.DropdownField(name, label, fields=options, description=description, required=required)
    style = form_field.TextField.password if field.metadata["secret"] else form_field.TextField.plain_text
    placeholder = field.metadata["example"] or _text(field.default)
    return form_field.TextField(
        name, label, style, description=description, required=required, placeholder=placeholder or None
    )
