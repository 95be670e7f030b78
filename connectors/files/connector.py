"""Syncs the records of files, or whole files, from a folder, an object store or a web server: a page at a time."""

from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector
from fivetran_connector_sdk import Logging as log

import bad_rows
from catalogue import Catalogue
from columns import declared_tables
from places import open_place
from reading import read_pages, try_first_pages
from service_spec import BAD_ROWS, Settings
from shared.checkpoints import Checkpoints
from shared.configuration import setup_test
from shared.errors import SourceError, plainly, reported
from shared.pages import deliver, log_progress


@plainly()
def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    settings = Settings.parse(configuration)
    declared_tables.cache_clear()  # of an earlier sync in this process: columns may have come since
    targets = declared_tables(settings)
    keys = {spec.name: list(spec.key) for spec in settings.table_specs}
    tables = [
        {"table": name, "primary_key": keys[name], "columns": dict(target.columns)} for name, target in targets.items()
    ]
    if settings.on_bad_row == "keep":
        tables.append({"table": BAD_ROWS, "primary_key": list(bad_rows.KEY), "columns": dict(bad_rows.COLUMNS)})
    return tables


@reported()
def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    settings = Settings.parse(configuration)
    with Checkpoints(state) as checkpoints:
        for page in log_progress(read_pages(settings, checkpoints)):
            deliver(page)  # op.upsert for every record, before the next page is asked for
            checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(
        tests={
            "List the files and find some for every table": find_test,
            "Read the first page of every table": read_test,
        }
    )


@setup_test
def find_test(configuration: dict[str, str]) -> None:
    """Whether the files can be listed, and every table has some; how many is in the log."""
    settings = Settings.parse(configuration)
    with open_place(settings) as place:
        for spec in settings.table_specs:
            with Catalogue(place.files(spec.patterns)) as catalogue:
                if not len(catalogue):
                    raise SourceError(
                        f"no file in {place.describe()} matches {', '.join(spec.patterns)}: correct the setting tables"
                    )
                log.info(f"{spec.name}: {len(catalogue):,} files")


@setup_test
def read_test(configuration: dict[str, str]) -> None:
    """Whether the first page of every table is what it should be: keys, types and rows."""
    settings = Settings.parse(configuration)
    declared_tables.cache_clear()
    for name, target in declared_tables(settings).items():
        log.info(f"{name}: its columns are {', '.join(target.columns)}")
    try_first_pages(settings)


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
