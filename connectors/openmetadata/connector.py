"""Syncs a metadata catalogue from OpenMetadata's REST API: one page in memory, two read ahead."""

from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector

from reading import read_pages, server_version
from service_spec import Settings, authentication, tables
from shared import topology
from shared.checkpoints import Checkpoints
from shared.configuration import setup_test
from shared.errors import plainly, reported
from shared.naming import warn_of_names_alike
from shared.pages import deliver, log_progress, prefetch


@plainly()
def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    settings = Settings.parse(configuration)
    return topology.schema(settings.chosen(tables(settings)))


@reported()
def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    settings = Settings.parse(configuration)
    chosen = settings.chosen(tables(settings))
    warn_of_names_alike(topology.schema(chosen))
    with (
        settings.client(authentication(settings)) as client,
        Checkpoints(state) as checkpoints,
        prefetch(read_pages(client, chosen, checkpoints, settings.workers), ahead=2) as pages,
    ):
        for page in log_progress(pages):
            deliver(page)  # op.upsert for every record, before the next page is asked for
            checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(tests={"Find the server": server_test, "Read with the token": token_test})


@setup_test
def server_test(configuration: dict[str, str]) -> None:
    """Whether an OpenMetadata server answers at the address."""
    settings = Settings.parse(configuration)
    with settings.client(authentication(settings)) as client:
        server_version(client)


@setup_test
def token_test(configuration: dict[str, str]) -> None:
    """Whether the token opens the first list."""
    settings = Settings.parse(configuration)
    with settings.client(authentication(settings)) as client:
        client.get(settings.chosen(tables(settings))[0].path, params={"limit": "1"})


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
