"""Syncs the tables of a PostgreSQL database: one page in memory, one read ahead through a server-side cursor."""

from contextlib import closing
from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector, Test
from fivetran_connector_sdk import Operations as op

from catalog import Catalog, read_catalog
from reading import connect, read_pages, told
from service_spec import Settings
from shared.checkpoints import Checkpoints
from shared.errors import ConnectorError, SourceError, plainly, reported
from shared.naming import warn_of_names_alike
from shared.pages import deliver, log_progress, prefetch


@plainly()
def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    settings = Settings.parse(configuration)
    with closing(connect(settings)) as connection:
        return _declared(_catalog(connection, settings), settings)


@reported()
def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    settings = Settings.parse(configuration)
    with closing(connect(settings)) as connection:
        catalog = _catalog(connection, settings)
        for reason in catalog.left_out:
            op.warning(reason)
        warn_of_names_alike(_declared(catalog, settings))
        with (
            Checkpoints(state) as checkpoints,
            prefetch(read_pages(connection, catalog.tables, checkpoints, settings)) as pages,
        ):
            for page in log_progress(pages):
                deliver(page)  # op.upsert for every record, before the next page is asked for
                checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(tests={"Connect and find tables": tables_test})


def tables_test(configuration: dict[str, str]) -> Any:
    """Whether the database can be reached and has tables that may be read."""
    try:
        settings = Settings.parse(configuration)
        with closing(connect(settings)) as connection:
            _catalog(connection, settings)
    except ConnectorError as error:
        return Test().failure(str(error))
    return Test().success()


def _catalog(connection: Any, settings: Settings) -> Catalog:
    """The catalogue's tables; raises SourceError when there is nothing to read."""
    with told(f"the tables of database {settings.database} could not be found"):
        catalog = read_catalog(connection, settings.schemas)
        connection.rollback()  # the next statement begins a transaction of its own
    if catalog.missing_schemas:
        missing, existing = ", ".join(catalog.missing_schemas), ", ".join(catalog.existing_schemas)
        raise SourceError(
            f"database {settings.database} has no schema {missing}, which `schemas` names: it has {existing}"
        )
    if not catalog.tables:
        may_not = f" that {settings.user} may read" if catalog.left_out else ""
        raise SourceError(f"database {settings.database} has no table{may_not} in {', '.join(settings.schemas)}")
    return catalog


def _declared(catalog: Catalog, settings: Settings) -> list[dict[str, Any]]:
    """The tables with their keys and the type of every column; with their schema when there are several."""
    return [
        {
            "table": table.name,
            **({"schema": table.schema} if len(settings.schemas) > 1 else {}),
            **({"primary_key": list(table.primary_key)} if table.primary_key else {}),
            "columns": {
                **{column.name: column.type for column in table.columns},
                **({} if table.primary_key else {table.occurrence: "LONG"}),
            },
        }
        for table in catalog.tables
    ]


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
