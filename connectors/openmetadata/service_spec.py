"""What the connector is: its settings, and the tables of OpenMetadata's API that it reads.

Each kind of entity (entities.py) is a table that a first sync reads whole, and later ones by the kind's history, which
says what changed. Beside them there are the columns of tables, lineage, and the results of test cases.
"""

from dataclasses import dataclass
from datetime import timedelta

from entities import COMMON_COLUMNS, ENTITIES, MOMENT, Entity, columns
from lineage import lineage_table
from records import COLUMNS_OF_COLUMNS, Prepared, columns_of, drops_columns, id_column, never
from shared.authentication import Authentication, Bearer
from shared.configuration import setting
from shared.pagination import Offset, TimeWindows, Token
from shared.rest_settings import RestSettings, is_address
from shared.topology import Changes, Table, check_tables, embedded

# What a server that is asked for changes at this moment may still be writing.
_LOOKBACK = timedelta(minutes=5)
_HISTORY_LIMIT = 500  # entries of a page, the most that the server gives
_HISTORY_WINDOW = timedelta(days=7)
# A list that an older server does not have yet. A wrong address is told before any list is read.
_ABSENT = frozenset({404})
# The search that results come from shows no more than this of a list.
_RESULTS_SHOWN = 10_000
# A result is dated when its test began; it may be stored a good while later.
_RESULTS_LOOKBACK = timedelta(days=1)


@dataclass(frozen=True)
class Settings(RestSettings):
    base_url: str = setting("Address of the API", example="https://openmetadata.example.com/api", check=is_address)
    token: str = setting("JWT of a bot, or a personal access token", secret=True)
    page_size: int = setting("Entities to ask for in one call", default=100, minimum=1, maximum=1000)
    lineage: bool = setting("Read lineage: one call for each asset in every sync", default=True)
    whole_every_days: int = setting(
        "Days after which a list is read whole, whatever its history says; 0 for never", default=7, minimum=0
    )
    test_results_days: int = setting("Days that the first sync looks back for test results", default=30, minimum=1)
    exclude_fields: tuple[str, ...] = setting("Fields not to ask for, where a server does not know them", default=())
    connections: bool = setting(
        "Deliver how services are connected to; a bot is shown their passwords in clear text", default=False
    )

    def problems(self) -> list[str]:
        known = {name for entity in ENTITIES for name in entity.fields.split()}
        unknown = sorted(set(self.exclude_fields) - known)
        found = [f"exclude_fields: {', '.join(unknown)}: nothing is asked for by that name"] if unknown else []
        return super().problems() + found


def authentication(settings: Settings) -> Authentication:
    """How requests prove who asks."""
    return Bearer(settings.token)


def tables(settings: Settings) -> list[Table]:
    """The tables to deliver."""
    found = [_entity_table(entity, settings) for entity in ENTITIES]
    found.append(_results_table(settings))
    if settings.lineage:
        found.append(lineage_table(_pages(), settings.page_size))
    return list(check_tables(found))


def _pages(total: str = "") -> Token:
    """How lists and histories are paged: only a missing `after` ends one."""
    return Token(next_token="paging.after", parameter="after", total=total)


def _entity_table(entity: Entity, settings: Settings) -> Table:
    """A list of entities; `include=all` has those that are marked as deleted too."""
    withheld = () if settings.connections else entity.secrets
    fields = ",".join(name for name in entity.fields.split() if name not in settings.exclude_fields)
    asked = {"fields": fields, **({"include": "all"} if entity.has_include else {})}
    declared = {name: type_ for name, type_ in {**COMMON_COLUMNS, **entity.columns}.items() if name not in withheld}
    path = f"/v1/{entity.collection}"
    return Table(
        entity.table,
        path,
        primary_key=("id",),
        columns={**declared, **{id_column(name): "STRING" for name in entity.refers_to}},
        records="data",
        pagination=_pages("paging.total"),
        params={"limit": str(settings.page_size), **asked},
        problems="errors",
        prepare=Prepared(entity.refers_to, withheld),
        deletes=True,
        absent=_ABSENT,
        changes=Changes(
            path=f"{path}/history",
            records="data",
            pagination=TimeWindows(
                start_parameter="startTs",
                end_parameter="endTs",
                format="epoch_ms",
                first="0",
                window=_HISTORY_WINDOW.total_seconds(),
                lookback=_LOOKBACK.total_seconds(),
                pages=_pages(),
            ),
            params={"limit": str(_HISTORY_LIMIT)},
            entry_key="id",
            record=f"{path}/{{id}}",
            record_params=asked,
            whole_after=timedelta(days=settings.whole_every_days).total_seconds(),
            is_beyond=drops_columns if entity.table == "tables" else never,
        ),
        children=(_columns_table(),) if entity.table == "tables" else (),
    )


def _columns_table() -> Table:
    """The columns of tables, those within others too."""
    return embedded("table_columns", columns_of, ("table_id", "path", "occurrence"), COLUMNS_OF_COLUMNS, deletes=True)


def _results_table(settings: Settings) -> Table:
    """The results of test cases. The server has no list of them but a search by time, which shows so many at most."""
    size = min(settings.page_size, 1000)
    return Table(
        "test_case_results",
        "/v1/dataQuality/testCases/testCaseResults/search/list",
        primary_key=("id",),
        columns={
            **columns(
                strings="id testCaseFQN testCaseStatus result sampleData incidentId",
                longs="passedRows failedRows",
                doubles="passedRowsPercentage failedRowsPercentage minBound maxBound",
                json="testResultValue dimensionResults testCase testDefinition",
            ),
            "timestamp": MOMENT,
            "test_case_id": "STRING",
            "test_definition_id": "STRING",
        },
        records="data",
        pagination=TimeWindows(
            start_parameter="startTimestamp",
            end_parameter="endTimestamp",
            format="epoch_ms",
            first_reach=timedelta(days=settings.test_results_days).total_seconds(),
            window=timedelta(days=1).total_seconds(),
            lookback=_RESULTS_LOOKBACK.total_seconds(),
            # Before a page would reach beyond what the search shows, the window is halved.
            cap=_RESULTS_SHOWN - size,
            pages=Offset(size=size, total="paging.total"),
        ),
        params={"fields": "testCase,testDefinition"},
        problems="errors",
        prepare=Prepared(("testCase", "testDefinition")),
    )


def tables_block() -> str:
    """The tables as the connector's README shows them."""
    lines = ["| table | from, below `/v1` | key | a later sync delivers |", "|---|---|---|---|"]
    for entity in ENTITIES:
        lines.append(f"| {entity.table} | /{entity.collection} | id | what changed, by the list's history |")
        if entity.table == "tables":
            lines.append(
                "| table_columns | the columns in /tables | table_id, path, occurrence | those of changed tables |"
            )
    results = "/dataQuality/testCases/testCaseResults/search/list"
    lines.append(
        f"| test_case_results | {results} | id | results since the last sync, and those of the day before it |"
    )
    lines.append("| lineage_edges | /lineage/{type}/{id} of each asset | fromEntity, toEntity | all |")
    return "\n".join(lines) + "\n"
