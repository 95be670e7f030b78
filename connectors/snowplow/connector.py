"""Syncs what a Snowplow organisation has designed and runs from the Console's API, by the tables in service_spec.py."""

from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector

from service_spec import Settings, authentication, tables
from shared import topology, walk
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
    with settings.client(authentication(settings)) as client, Checkpoints(state) as checkpoints:
        chosen = settings.chosen(tables(settings, client))
        warn_of_names_alike(topology.schema(chosen))
        with prefetch(walk.read_pages(client, chosen, checkpoints, workers=settings.workers), ahead=2) as pages:
            for page in log_progress(pages):
                deliver(page)  # op.upsert for every record, before the next page is asked for
                checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(tests={"Read the first page": first_page_test})


@setup_test
def first_page_test(configuration: dict[str, str]) -> None:
    """Whether the key is exchanged for a token, and the API answers with a list where one should be."""
    settings = Settings.parse(configuration)
    with settings.client(authentication(settings)) as client:
        walk.read_first_page(client, settings.chosen(tables(settings, client))[0])


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
