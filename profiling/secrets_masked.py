"""Settings and texts as a report may show them: it is sent to other people."""

import re
from collections.abc import Callable, Mapping

MASK = "•••"
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|credential|auth|cert|signature|sas|dsn|conn.*str", re.IGNORECASE)
# Names that hold one of these words and no secret.
_HARMLESS_NAME = re.compile(
    r"(primary|sort|foreign|partition|row|record).?keys?|keys?_?columns?|token_url|auth_type", re.I
)
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_IN_ADDRESS = re.compile(r"([?&;][^=&\s]*(?:key|token|secret|sig|pass|auth)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
# Long, of letters and digits, and nothing that a person writes: most likely a key under a harmless name.
_RANDOM = re.compile(r"(?=[^/\\.\s]*[0-9])(?=[^/\\.\s]*[A-Za-z])[A-Za-z0-9+=_-]{24,}\Z")
_SHORTEST = 4  # shorter ones would be masked in words that have nothing to do with them


def masked(configuration: Mapping[str, str]) -> dict[str, str]:
    """The configuration with every value masked that is, or may be, a secret; an empty one is shown."""
    return {name: _shown(name, str(value)) for name, value in configuration.items()}


def masker(configuration: Mapping[str, str]) -> Callable[[str], str]:
    """A function that masks the configuration's secrets wherever they are in a text."""
    secrets = {str(value) for name, value in configuration.items() if _shown(name, str(value)) == MASK}
    long = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in long:
            text = text.replace(secret, MASK)
        return _without_credentials(text)

    return mask


def _shown(name: str, value: str) -> str:
    if not value:
        return value
    if (_SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name)) or _RANDOM.match(value):
        return MASK
    return _without_credentials(value)


def _without_credentials(text: str) -> str:
    return _SECRET_IN_ADDRESS.sub(rf"\1{MASK}", _USER_IN_ADDRESS.sub(f"{MASK}@", text))
