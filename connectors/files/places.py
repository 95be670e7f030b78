"""Where files are: a folder, a bucket of an object store or a web server. All of them list files, and give their bytes.

with open_place(settings) as place:
    for file in place.files(["**/*.csv"]):
        for chunk in place.content(file).chunks(): ...
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Protocol

from fivetran_connector_sdk import Logging as log

from content import Content, File
from local_folder import LocalFolder
from object_store import ObjectStore
from service_spec import Settings
from web_server import WebServer


class Place(Protocol):
    """What fails is a SourceError that names the place, or a FileProblem that names the file."""

    def files(self, patterns: Sequence[str]) -> Iterator[File]:
        """Every file that one of the patterns names, once, in any order."""

    def content(self, file: File) -> Content:
        """The bytes of a file that was listed; nothing is opened yet."""

    def describe(self) -> str:
        """The place in a message, without secrets."""

    def close(self) -> None:
        """Ends all connections."""


@contextmanager
def open_place(settings: Settings, warn: Callable[[str], None] = log.warning) -> Iterator[Place]:
    """The place that the setting `location` names. Raises ConfigurationError or SourceError for one that is none.

    warn  is told of files that are left out: op.warning in a sync, where the dashboard shows it
    """
    with closing(_place(settings, warn)) as place:
        yield place


def _place(settings: Settings, warn: Callable[[str], None]) -> Place:
    if settings.is_local:
        return LocalFolder(settings.location, warn)
    return WebServer(settings) if settings.is_web else ObjectStore(settings)
