"""Syncs the tables of a PostgreSQL database: one page in memory, one read ahead through a server-side cursor."""

from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector
from fivetran_connector_sdk import Operations as op

from catalog import catalog_of
from reading import read_pages
from service_spec import Settings
from session import Session
from setup_tests import TESTS
from shared.checkpoints import Checkpoints
from shared.errors import plainly, reported
from shared.naming import warn_of_names_alike
from shared.pages import deliver, log_progress, prefetch
from tables import declared


@plainly()
def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    settings = Settings.parse(configuration)
    with Session(settings) as session:
        return declared(catalog_of(session, settings), settings)


@reported()
def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    settings = Settings.parse(configuration)
    with Session(settings) as session:
        catalog = catalog_of(session, settings)
        for reason in catalog.left_out:
            op.warning(reason)
        warn_of_names_alike(declared(catalog, settings))
        with (
            Checkpoints(state) as checkpoints,
            prefetch(read_pages(session, catalog.tables, checkpoints, settings)) as pages,
        ):
            for page in log_progress(pages):
                deliver(page)  # op.upsert for every record, before the next page is asked for
                checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(tests=TESTS)


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
