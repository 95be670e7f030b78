"""What the connector is: its settings, and the tables of the Snowplow Console's API."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import columns
from enrichment_inputs import EnrichmentInputs, EventSchemas, OffsetFromStart
from schema_fields import SchemaFields
from shared.authentication import Authentication, SessionToken
from shared.configuration import setting
from shared.http_client import HttpClient, HttpError
from shared.pages import Record
from shared.pagination import Offset, SinglePage, TimeWindows
from shared.rest_settings import RestSettings, is_address
from shared.topology import Table, check_tables, embedded

# A feature that the organisation does not have.
ABSENT = frozenset({404})

# No server is taken to cap its pages below so many deployments without a word.
LEAST_PAGE = 10

HOUR = 3600.0
JOB_RUNS = TimeWindows(
    start_parameter="from",
    end_parameter="to",
    format="iso",
    window=96 * HOUR,
    reach=7 * 24 * HOUR - 600,  # the server counts a week back from when it is asked, which is later than we count from
    cap=10_000,
)


@dataclass(frozen=True)
class Settings(RestSettings):
    base_url: str = setting(
        "Address of the Console",
        default="https://console.snowplowanalytics.com",
        check=is_address,
    )
    organization_id: str = setting("Id of the organisation: the UUID in the Console's addresses")
    api_key_id: str = setting("Id of the API key")
    api_key: str = setting("The API key itself", secret=True)
    max_parallel_workers: int = setting(
        "Of the calls in flight, those for enrichments of pipelines or for steps of job runs at most",
        default=5,
        minimum=1,
        maximum=50,
    )
    enable_caching: bool = setting(
        "Keep the event schemas while data structures are read; without, the list is read again for the enrichments",
        default=True,
    )
    max_enrichment_inputs: int = setting(
        "Event schemas that an enrichment is linked to at most; 0 leaves out the table enrichment_schema_edges",
        default=50,
        minimum=0,
    )
    sample_enrichment_inputs: bool = setting(
        "Where there are more, choose by a hash, so that the choice stays the same; without, the first of the list",
        default=True,
    )
    link_all_schemas: bool = setting("Link every enrichment to all event schemas, however many", default=False)
    max_fields_per_lineage: int = setting("Fields of a schema that are delivered at most", default=200, minimum=1)
    track_field_versions: bool = setting(
        "All versions of schemas, not just the latest, and the deployment history: a call for each data structure",
        default=False,
    )
    job_run_steps: bool = setting("Steps of job runs too: one call for each run", default=False)
    job_run_lookback_hours: int = setting(
        "Hours of job runs that every sync reads again, for those that were still running",
        default=24,
        minimum=0,
        maximum=167,
    )
    page_size: int = setting("Data structures, or deployments of one, in a page", default=100, minimum=1, maximum=1000)

    def problems(self) -> list[str]:
        found = super().problems()
        if self.link_all_schemas and not self.max_enrichment_inputs:
            found.append("link_all_schemas: links all event schemas, but max_enrichment_inputs of 0 says to link none")
        return found

    @property
    def api(self) -> str:
        """Path of everything that is the organisation's."""
        return f"/api/msc/v1/organizations/{quote(self.organization_id, safe='')}"


class ConsoleToken(SessionToken):
    """A token in exchange for an API key, by a GET with the key in its headers."""

    def __init__(self, settings: Settings) -> None:
        headers = {"X-API-Key-ID": settings.api_key_id, "X-API-Key": settings.api_key}
        login = f"{settings.api}/credentials/v3/token"
        super().__init__(login, token="accessToken", scheme="Bearer", method="GET", headers=headers)

    def _explained(self, error: HttpError) -> str:
        return ": the Console knows no such organisation, see organization_id" if error.status == 404 else ""


def authentication(settings: Settings) -> Authentication:
    """How requests to the API prove who asks."""
    return ConsoleToken(settings)


def tables(settings: Settings, client: HttpClient | None = None) -> list[Table]:
    """The tables to deliver, for one sync. `client` is what reads them; they can be declared without.

    Data structures come before pipelines, whose enrichments are linked to them. Job runs come last: by then, answers
    have told the server's clock, which says which windows of time it takes.
    """
    schemas = EventSchemas(client, f"{settings.api}/data-structures/v1", settings.page_size)
    declared = [
        _data_structures(settings, schemas),
        _schema_versions(settings),
        _event_specifications(settings),
        _tracking_plans(settings),
        _data_models(settings),
        _whole(settings, "source_apps", "source-apps/v1", columns.SOURCE_APP, records="data"),
        _whole(settings, "users", "users", columns.USER),
        _pipelines(settings, schemas),
        _whole(settings, "destinations", "destinations/v3", columns.DESTINATION),
        _job_runs(settings),
    ]
    check_tables(declared)
    return declared


def _whole(
    settings: Settings,
    name: str,
    path: str,
    its_columns: Mapping[str, str],
    primary_key: tuple[str, ...] = ("id",),
    **declared: Any,
) -> Table:
    """A table of what one call answers with: no list of the API says what changed, so every sync reads all of it."""
    return Table(
        name,
        f"{settings.api}/{path}",
        primary_key,
        its_columns,
        pagination=SinglePage(),
        deletes=True,
        absent=ABSENT,
        **declared,
    )


def _data_structures(settings: Settings, schemas: EventSchemas) -> Table:
    pages = Offset(offset="from", limit="size", size=settings.page_size)
    key = ("hash", "env", "version", "patchLevel", "ts")
    current = embedded(
        "data_structure_deployments",
        "deployments",
        key,
        columns.DEPLOYMENT,
        inherit={"hash": "hash"},
        deletes=True,
    )
    history = Table(
        "data_structure_deployment_history",
        f"{settings.api}/data-structures/v1/{{hash}}/deployments",
        key,
        columns.DEPLOYMENT,
        # Most structures were deployed a few times: with this, their history is one call.
        pagination=replace(pages, least_page=min(LEAST_PAGE, pages.size)),
        inherit={"hash": "hash"},
        tolerant=True,
    )
    caching = settings.enable_caching
    return Table(
        "data_structures",
        f"{settings.api}/data-structures/v1",
        ("hash",),
        columns.DATA_STRUCTURE,
        pagination=_noticed(pages, schemas) if caching else pages,
        prepare=schemas.take if caching else None,
        deletes=True,
        children=(current, history) if settings.track_field_versions else (current,),
    )


def _noticed(pages: Offset, schemas: EventSchemas) -> Offset:
    return OffsetFromStart(offset=pages.offset, limit=pages.limit, size=pages.size, begun=schemas.begin)


def _schema_versions(settings: Settings) -> Table:
    fields = SchemaFields(settings.max_fields_per_lineage)
    name = tuple(columns.SCHEMA_NAME)
    return Table(
        "schema_versions",
        f"{settings.api}/data-structures/v1/schemas/versions",
        name,
        columns.SCHEMA_VERSION,
        params={} if settings.track_field_versions else {"latest": "true"},
        pagination=SinglePage(),
        prepare=fields.version,
        deletes=True,
        children=(
            embedded(
                "schema_fields",
                fields.rows,
                (*name, "path"),
                columns.SCHEMA_FIELD,
                inherit={part: part for part in name},
                deletes=True,
            ),
        ),
    )


def _event_specifications(settings: Settings) -> Table:
    name, path = "event_specifications", "event-specs/v1"
    return _whole(settings, name, path, columns.EVENT_SPECIFICATION, records="data", problems="errors")


def _tracking_plans(settings: Settings) -> Table:
    key, plan = ("trackingPlanId", "id"), {"trackingPlanId": "id"}
    return _whole(
        settings,
        "tracking_plans",
        "data-products/v2",
        columns.TRACKING_PLAN,
        records="data",
        problems="errors",
        children=(
            embedded(
                "tracking_plan_event_specs",
                "eventSpecs",
                key,
                columns.TRACKING_PLAN_EVENT_SPEC,
                inherit=plan,
                deletes=True,
            ),
            embedded(
                "tracking_plan_source_apps",
                _source_apps,
                key,
                columns.TRACKING_PLAN_SOURCE_APP,
                inherit=plan,
                deletes=True,
            ),
        ),
    )


def _source_apps(plan: Record) -> Iterator[Record]:
    """What a tracking plan has as a list of ids."""
    return ({"id": app} for app in plan.get("sourceApplications") or ())


def _data_models(settings: Settings) -> Table:
    # Not all data models have an id, but they have a name, unique within their tracking plan.
    key = ("dataProductId", "name")
    return _whole(settings, "data_models", "data-models/v1/models", columns.DATA_MODEL, key, prepare=_data_model)


def _data_model(model: Record) -> Record:
    return {**model, "dataProductId": model.get("dataProductId") or ""}


def _pipelines(settings: Settings, schemas: EventSchemas) -> Table:
    most = None if settings.link_all_schemas else settings.max_enrichment_inputs
    edges = embedded(
        "enrichment_schema_edges",
        EnrichmentInputs(schemas, most, settings.sample_enrichment_inputs).rows,
        ("pipelineId", "enrichmentName", "hash"),
        columns.ENRICHMENT_EDGE,
        deletes=True,
    )
    enrichments = Table(
        "enrichments",
        f"{settings.api}/pipelines/v1/{{id}}/enrichments",
        ("pipelineId", "name"),
        columns.ENRICHMENT,
        pagination=SinglePage(),
        inherit={"pipelineId": "id"},
        at_once=settings.max_parallel_workers,
        deletes=True,
        children=() if most == 0 else (edges,),
    )
    return _whole(settings, "pipelines", "pipelines/v1", columns.PIPELINE, records="pipelines", children=(enrichments,))


def _job_runs(settings: Settings) -> Table:
    steps = Table(
        "job_run_steps",
        f"{settings.api}/jobs/v1/runs/{{runId}}/steps",
        ("runId", "name"),
        columns.JOB_RUN_STEP,
        pagination=SinglePage(),
        inherit={"runId": "runId"},
        at_once=settings.max_parallel_workers,
        tolerant=True,
    )
    return Table(
        "job_runs",
        f"{settings.api}/jobs/v1/runs",
        ("runId",),
        columns.JOB_RUN,
        pagination=replace(JOB_RUNS, lookback=settings.job_run_lookback_hours * HOUR),
        absent=ABSENT,
        children=(steps,) if settings.job_run_steps else (),
    )
