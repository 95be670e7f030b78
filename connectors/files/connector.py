"""Syncs the records of all CSV files that a pattern names in a folder: one page of one file in memory."""

from typing import Any

from fivetran_connector_sdk import ConfigurationForm, Connector

from csv_file import CsvFile
from listing import list_files
from reading import read_pages
from service_spec import FILE, LINE, Settings
from shared.checkpoints import Checkpoints
from shared.configuration import setup_test
from shared.errors import SourceError, plainly, reported
from shared.pages import deliver, log_progress


@plainly()
def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    settings = Settings.parse(configuration)
    columns: dict[str, str] = {FILE: "STRING", LINE: "LONG"}
    for file in list_files(settings):
        with CsvFile(file.path, file.name, settings.separator) as csv_file:
            # Text stays text: "00123" and "1e5" arrive as they are written.
            columns |= dict.fromkeys(csv_file.columns, "STRING")
    return [{"table": settings.table, "primary_key": list(settings.key), "columns": columns}]


@reported()
def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    settings = Settings.parse(configuration)
    with Checkpoints(state) as checkpoints:
        for page in log_progress(read_pages(settings, checkpoints)):
            deliver(page)  # op.upsert for every record, before the next page is asked for
            checkpoints.save(page)  # only now does the state move past this page


def configuration_form() -> ConfigurationForm:
    return Settings.form(tests={"Find files and read a header": files_test})


@setup_test
def files_test(configuration: dict[str, str]) -> None:
    """Whether the folder has files that the pattern names, and the first can be read."""
    settings = Settings.parse(configuration)
    files = list_files(settings)
    if not files:
        raise SourceError(f"no file in {settings.folder} matches {settings.pattern}")
    with CsvFile(files[0].path, files[0].name, settings.separator):
        pass


connector = Connector(update=update, schema=schema, configuration_form=configuration_form)
