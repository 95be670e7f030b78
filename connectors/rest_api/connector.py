"""Syncs the tables that service_spec.py declares from a REST API: one page in memory, one read ahead."""

from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector, Test

from service_spec import Settings, authentication, tables
from shared import topology
from shared.checkpoints import Checkpoints
from shared.errors import ConnectorError, plainly, reported
from shared.http_client import HttpClient
from shared.naming import warn_of_names_alike
from shared.pages import deliver, log_progress, prefetch


@plainly()
def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return topology.schema(tables(Settings.parse(configuration)))


@reported()
def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    settings = Settings.parse(configuration)
    warn_of_names_alike(topology.schema(tables(settings)))
    with (
        _client(settings) as client,
        Checkpoints(state) as checkpoints,
        prefetch(topology.read_pages(client, tables(settings), checkpoints)) as pages,
    ):
        for page in log_progress(pages):
            deliver(page)  # op.upsert for every record, before the next page is asked for
            checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(tests={"Read the first page": first_page_test})


def first_page_test(configuration: dict[str, str]) -> Any:
    """Whether the API answers with a list where one should be."""
    try:
        settings = Settings.parse(configuration)
        with _client(settings) as client:
            next(topology.read_pages(client, tables(settings)[:1], Checkpoints({})))
    except ConnectorError as error:
        return Test().failure(str(error))
    return Test().success()


def _client(settings: Settings) -> HttpClient:
    return HttpClient(settings.base_url, auth=authentication(settings))


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
