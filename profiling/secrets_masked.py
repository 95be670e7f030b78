"""Settings and texts as a report may show them: it is sent to other people.

What is masked is more than it has to be: a name that is hidden for nothing does no harm.
"""

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

MASK = "•••"
_SECRET_NAME = re.compile(
    r"pass|pwd|pw(\b|_|$)|_pw|secret|token|key|credential|auth|cert|signature|sas|dsn|conn.*str|bearer|jwt|hook|cookie",
    re.IGNORECASE,
)
# Names that hold one of these words and no secret.
_HARMLESS_NAME = re.compile(
    r"(primary|sort|foreign|partition|row|record|unique).?keys?|keys?_?columns?|token_url|auth(entication)?_(type|method)",
    re.IGNORECASE,
)
_USER_IN_ADDRESS = re.compile(r"(?<=://)\S+@")  # up to the last one: a password may hold one too
_SECRET_IN_ADDRESS = re.compile(r"([?&;][^=&\s]*(?:key|token|secret|sig|pass|auth)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
_SECRET_IN_DSN = re.compile(r"\b((?:password|passwd|pwd|secret|token)\s*=\s*)('[^']*'|[^\s;&]+)", re.IGNORECASE)
_HEADER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{6,}")
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?")
# Long, of letters and digits, and nothing that a person writes: most likely a key under a harmless name.
_RANDOM = re.compile(r"(?=[^/\\\s]*[0-9])(?=[^/\\\s]*[A-Za-z])[A-Za-z0-9+=_.-]{24,}\Z")
_SHORTEST = 4  # shorter ones would be masked in words that have nothing to do with them
_SHORTEST_LINE = 8

Value = TypeVar("Value")


def masked(configuration: Mapping[str, Any]) -> dict[str, str]:
    """The configuration with every value masked that is, or may be, a secret; an empty one is shown."""
    shown = {name: _shown(name, value) for name, value in configuration.items()}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in shown.items()}


class Masker:
    """Masks the secrets of these settings wherever they are: in texts, and in whatever holds texts."""

    def __init__(self, *settings: Mapping[str, Any]) -> None:
        secrets = {secret for each in settings for secret in _secrets("", each)}
        plain = {value for each in settings for value in each.values() if isinstance(value, str) and value}
        forms = {form for secret in secrets for form in _forms(secret, plain)}
        known = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """The text without secrets; to be masked before it is cut, or half of a secret would be left."""
        if self._known:
            text = self._known.sub(MASK, text)
        return _without_credentials(text)

    def all(self, value: Value) -> Value:
        """The value with every text in it masked; numbers stay as they are."""
        return self._all(value)  # type: ignore[no-any-return]

    def _all(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Path):
            return Path(self.text(str(value)))
        if isinstance(value, dict):
            return {self._all(key): self._all(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self._all(each) for each in value])
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{each.name: self._all(getattr(value, each.name)) for each in fields(value)})
        return value


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            inner: _shown(f"{name}.{inner}" if _is_secret_name(name) else inner, each) for inner, each in value.items()
        }
    if isinstance(value, list):
        return [_shown(name, each) for each in value]
    if not isinstance(value, str) or not value:
        return MASK if _is_secret_name(name) and value else value
    if _is_secret_name(name) or _RANDOM.match(value):
        return MASK
    return _without_credentials(value)


def _below(name: str, inner: Any) -> str:
    """The name of a setting inside of another: all that is in a secret is one."""
    return f"{name}.{inner}" if _is_secret_name(name) else str(inner)


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name))


def _secrets(name: str, value: Any) -> Iterator[str]:
    """Every text below these settings that is, or may be, a secret, and the secrets that are inside of one."""
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _secrets(_below(name, inner), each)
    elif isinstance(value, list):
        for each in value:
            yield from _secrets(name, each)
    elif isinstance(value, str) and value:
        shown = _shown(name, value)
        if shown == MASK:
            yield value
        if shown != value:
            yield from _parts(value)


def _parts(value: str) -> Iterator[str]:
    """What drivers print of a secret setting: the password of an address, the fields of a key that is JSON."""
    for user in _USER_IN_ADDRESS.findall(value):
        yield user[:-1].partition(":")[2]
    for _, secret in _SECRET_IN_DSN.findall(value):
        yield secret.strip("'")
    try:
        inner = json.loads(value)
    except ValueError:
        return
    if isinstance(inner, dict):
        yield from _secrets("", inner)


def _forms(secret: str, plain: set[str]) -> Iterator[str]:
    """A secret as it is, as Python, JSON, addresses and pages write it, line by line, and as a header holds it."""
    yield from (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret))
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield from (line for line in secret.splitlines() if len(line) >= _SHORTEST_LINE)
    if len(secret) >= _SHORTEST:
        for name in ("", *plain):
            pair = f"{name}:{secret}" if name else secret
            yield base64.b64encode(pair.encode(errors="replace")).decode()


def _without_credentials(text: str) -> str:
    text = _USER_IN_ADDRESS.sub(f"{MASK}@", text)
    text = _SECRET_IN_ADDRESS.sub(rf"\1{MASK}", text)
    text = _SECRET_IN_DSN.sub(rf"\1{MASK}", text)
    return _JWT.sub(MASK, _HEADER.sub(rf"\1 {MASK}", text))
