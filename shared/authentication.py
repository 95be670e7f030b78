"""How requests prove who asks: credentials in a header or an address, and tokens that expire and are renewed.

    HttpClient(url, auth=Bearer(token))
    HttpClient(url, auth=OAuth2("https://login.example.com/token", client_id, client_secret))

The client sends them to the origin of its base address only, and shows none of `secrets` in any message.
"""

import base64
import html
import json
import re
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote_plus, unquote_plus, urlsplit

from fivetran_connector_sdk import Operations as op
from requests import PreparedRequest
from requests.auth import AuthBase

from shared.errors import ConfigurationError, ConnectorError, SourceError, is_this_machine, redacted
from shared.http_messages import Call, HttpAnswer, HttpError, is_whole, origin, shown_text

if TYPE_CHECKING:
    from shared.http_client import HttpClient

_SHORTEST_SECRET = 4  # characters; shorter ones would be found in every other word
_RENEWED_AHEAD = 60.0  # seconds before a token expires
_TOKENS_REMEMBERED = 10
_IN_VAIN = 60.0  # seconds in which no token is fetched after one that was new was refused too
# What a login is sent beside secrets. Everything else in it is taken for one.
_NO_SECRETS = frozenset(
    {
        "accept",
        "account",
        "audience",
        "client_id",
        "content-type",
        "domain",
        "email",
        "grant_type",
        "login",
        "resource",
        "scope",
        "tenant",
        "user",
        "user_name",
        "username",
    }
)


class Authentication(AuthBase):
    """How requests prove who asks."""

    _secrets: tuple[str, ...] = ()
    _mask: tuple[tuple[str, ...], re.Pattern[str] | None] = ((), None)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Strings that no message may show."""
        return self._secrets

    def current(self, client: "HttpClient", refused: AuthBase | None = None) -> AuthBase:
        """What to sign requests with now. Something new if `refused` was in use and can be renewed, else the same."""
        return self

    def renewed_in_vain(self) -> None:
        """What `current` gave in place of something refused was refused as well."""

    def strip(self, url: str) -> str:
        """An address without the credentials that this puts into addresses."""
        return url

    def masked(self, text: str) -> str:
        """Text with *** in place of each secret, as it is or in any of the ways that it is written in addresses,
        JSON and HTML."""
        secrets = self.secrets
        if secrets != self._mask[0]:
            found = sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True)
            pattern = "|".join("".join(map(_any_form, secret)) for secret in found)
            self._mask = (secrets, re.compile(pattern, re.IGNORECASE) if pattern else None)
        mask = self._mask[1]
        return mask.sub("***", text) if mask else text

    def masked_start(self, text: str) -> str:
        """The same for a text that was cut, where half of a secret may stand at the end."""
        text = self.masked(text)
        for secret in self.secrets:
            for length in range(min(len(secret), len(text)) - 1, _SHORTEST_SECRET - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + "***"
        return text


class NoAuthentication(Authentication):
    """Sends nothing. Without an authentication of its own, `requests` would take one from a .netrc file."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request


class _Header(Authentication):
    """Credentials in a header."""

    def __init__(self, name: str, value: str, *secrets: str) -> None:
        self._name, self._value = name, value
        self._secrets = secrets

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers[self._name] = self._value
        return request


class Bearer(_Header):
    """Authorization: Bearer TOKEN."""

    def __init__(self, token: str) -> None:
        super().__init__("Authorization", f"Bearer {token}", token)


class Basic(_Header):
    """A user's name and password. The name is taken for a secret if there is no password: it is a key then."""

    def __init__(self, user: str, password: str) -> None:
        encoded = _basic(user, password)
        secret = password if len(password) >= _SHORTEST_SECRET else user
        super().__init__("Authorization", f"Basic {encoded}", secret, encoded)


class ApiKey(Authentication):
    """A key in a header, after an optional prefix, or in the query of every address.

    ApiKey(key)                                     X-Api-Key: KEY
    ApiKey(key, "Authorization", prefix="apiKey ")  Authorization: apiKey KEY
    ApiKey(key, parameter="api_key")                https://host/items?api_key=KEY
    """

    def __init__(self, key: str, header: str = "X-Api-Key", prefix: str = "", parameter: str = "") -> None:
        self._key, self._header, self._prefix, self._parameter = key, header, prefix, parameter
        self._secrets = (key,)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if not self._parameter:
            request.headers[self._header] = self._prefix + self._key
            return request
        url = self.strip(request.url or "")
        parts = urlsplit(url)
        own = f"{quote_plus(self._parameter)}={quote_plus(self._prefix + self._key)}"
        request.url = parts._replace(query="&".join(filter(None, (parts.query, own)))).geturl()
        return request

    def strip(self, url: str) -> str:
        """The address, whole or relative, without the key; all else of it unchanged."""
        address, mark, query = url.partition("?")
        if not self._parameter or not mark:
            return url
        query, hash_mark, fragment = query.partition("#")
        kept = "&".join(item for item in query.split("&") if not self._is_own(item))
        return address + ("?" + kept if kept else "") + hash_mark + fragment

    def _is_own(self, item: str) -> bool:
        """Whether a part of a query is the key's, whatever a server calls it that repeats it."""
        name, _, value = item.partition("=")
        sent = unquote_plus(value)
        repeats = len(self._key) >= _SHORTEST_SECRET and sent in (self._key, self._prefix + self._key)
        return repeats or unquote_plus(name) == self._parameter


class ExpiringToken(Authentication):
    """A token that is fetched before the first request, and anew when it expires or the server refuses it.

    However many threads are refused, one fetches the new token and the others take it. A token that cannot be fetched
    is not asked for again: an account may be locked after a few wrong passwords. Nor is one fetched for each call that
    is refused whatever the token.
    """

    def __init__(self, url: str, secrets: tuple[str, ...]) -> None:
        self._url, self._secrets = url, secrets
        self._lock = threading.Lock()
        self._ticket: _Header | None = None
        self._expires = float("inf")
        self._kept_until = 0.0  # even if it is refused
        self._failure: ConnectorError | None = None
        self._fetched: deque[str] = deque(maxlen=_TOKENS_REMEMBERED)
        if is_whole(url):
            _check_is_safe(url)

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*self._secrets, *self._fetched)

    def current(self, client: "HttpClient", refused: AuthBase | None = None) -> AuthBase:
        """The header with the token in use; a new one if there is none, it expires, or it is the one refused."""
        with self._lock:
            if self._failure:
                raise type(self._failure)(str(self._failure))
            now = time.monotonic()
            is_refused = self._ticket is refused and now >= self._kept_until
            if self._ticket is None or is_refused or now >= self._expires:
                try:
                    self._ticket = self._fetch(client)
                except ConnectorError as failure:
                    self._failure = failure
                    raise
            return self._ticket

    def renewed_in_vain(self) -> None:
        with self._lock:
            self._kept_until = time.monotonic() + _IN_VAIN

    def _fetch(self, client: "HttpClient") -> _Header:
        """A new token, by the call that a subclass makes."""
        if not client.allow_plaintext:
            _check_is_safe(client.address(self._url))
        asked = time.monotonic()
        try:
            answer = client.request(self._call(), authenticated=False)
        except HttpError as error:
            # A login refused is neither a page nor a feature that does not exist: its status means nothing to others.
            raise SourceError(self.masked(f"{error}{self._explained(error)}")) from None
        token, scheme = self._token_of(answer)
        self._fetched.append(token)
        self._expires = asked + self._lifetime(answer)
        return _Header("Authorization", f"{scheme} {token}".strip(), token)

    @abstractmethod
    def _call(self) -> Call:
        """The call that is answered with a token."""

    @abstractmethod
    def _token_of(self, answer: HttpAnswer) -> tuple[str, str]:
        """The token of an answer, and what stands before it in the header; raises SourceError without one."""

    def _lifetime(self, answer: HttpAnswer) -> float:
        """Seconds till a new token is needed."""
        return float("inf")

    def _explained(self, error: HttpError) -> str:
        """What a refusal says that may be shown."""
        return ""

    def _text_at(self, answer: HttpAnswer, path: str) -> str:
        value = answer.body
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, str | int) or not value:
            raise SourceError(f"{redacted(answer.url)} answered without a {path!r}: is it the login's address?")
        return str(value)


class SessionToken(ExpiringToken):
    """A token fetched by logging in.

    login        address of the login, to which `credentials` go as JSON, or with method GET as parameters
    token        where the token is in the answer: "token", "data.accessToken"
    scheme       what stands before the token in the Authorization header
    headers      sent to the login
    """

    def __init__(
        self,
        login: str,
        credentials: Mapping[str, str] | None = None,
        token: str = "token",
        scheme: str = "Token",
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._credentials, self._headers = dict(credentials or {}), dict(headers or {})
        self._path, self._scheme, self._method = token, scheme, method
        super().__init__(login, (*_secrets_of(self._credentials), *_secrets_of(self._headers)))

    def _call(self) -> Call:
        if self._method == "GET":
            return Call(self._url, params=self._credentials, headers=self._headers, endpoint="login")
        return Call(self._url, self._method, headers=self._headers, json=self._credentials, endpoint="login")

    def _token_of(self, answer: HttpAnswer) -> tuple[str, str]:
        return self._text_at(answer, self._path), self._scheme


class OAuth2(ExpiringToken):
    """A token by the grants of OAuth 2.0: client credentials, or a refresh token if one is given.

    style  body   the client's id and secret go in the form
           basic  they go in the Authorization header
    extra  further fields of the form, such as an audience
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        scope: str = "",
        refresh_token: str = "",
        style: Literal["body", "basic"] = "body",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._client_id, self._client_secret, self._scope = client_id, client_secret, scope
        self._refresh_token, self._style, self._extra = refresh_token, style, dict(extra or {})
        # The standard wants both percent-encoded before they are joined.
        self._basic = _basic(quote_plus(client_id), quote_plus(client_secret))
        super().__init__(token_url, (client_secret, refresh_token, self._basic, *_secrets_of(self._extra)))

    def _call(self) -> Call:
        form = {"grant_type": "refresh_token" if self._refresh_token else "client_credentials"}
        form |= {"refresh_token": self._refresh_token, "scope": self._scope}
        headers = {"Accept": "application/json"}
        if self._style == "basic":
            headers["Authorization"] = f"Basic {self._basic}"
        else:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        form = {name: value for name, value in form.items() if value} | self._extra
        return Call(self._url, "POST", headers=headers, form=form, endpoint="token")

    def _token_of(self, answer: HttpAnswer) -> tuple[str, str]:
        if isinstance(answer.body, dict):
            self._keep_rotated(answer.body.get("refresh_token"), redacted(answer.url))
        return self._text_at(answer, "access_token"), "Bearer"

    def _keep_rotated(self, token: Any, where: str) -> None:
        """Goes on with the refresh token that the server gave in place of the one in the settings."""
        if not self._refresh_token or not isinstance(token, str) or token in ("", self._refresh_token):
            return
        is_first = self._refresh_token in self._secrets
        self._refresh_token = token
        self._fetched.append(token)
        if is_first:
            op.warning(
                f"{where} gave a new refresh token in place of the one in the settings, where no sync can save it: "
                "if the next sync is refused, log in anew, or have the server keep refresh tokens valid"
            )

    def _lifetime(self, answer: HttpAnswer) -> float:
        try:
            seconds = float(answer.body.get("expires_in") or 0)
        except (TypeError, ValueError, OverflowError):
            seconds = 0.0
        return seconds - min(_RENEWED_AHEAD, seconds / 10) if seconds > 0 else float("inf")

    def _explained(self, error: HttpError) -> str:
        try:
            said = json.loads(error.body)
        except ValueError:
            return ""
        if not isinstance(said, dict):
            return ""
        texts = [said.get(name) for name in ("error", "error_description")]
        return shown_text(self.masked(", ".join(text for text in texts if isinstance(text, str))))


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _secrets_of(sent: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in sent.items() if name.lower() not in _NO_SECRETS)


def _check_is_safe(url: str) -> None:
    """Raises ConfigurationError for an address to which credentials would travel in clear text."""
    try:
        scheme, host, _ = origin(url)
        is_safe = scheme == "https" or is_this_machine(host)
    except ValueError:
        is_safe = False
    if not is_safe:
        raise ConfigurationError(f"{redacted(url)} is sent credentials, which anybody could read: use https://")


def _any_form(character: str) -> str:
    """A pattern for a character as it stands, percent-encoded, or escaped as in JSON or HTML."""
    encoded = "".join(f"%{byte:02x}" for byte in character.encode(errors="surrogatepass"))
    forms = {character, json.dumps(character)[1:-1], html.escape(character), encoded}
    if character == " ":
        forms.add("+")
    return "(?:" + "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)) + ")"
