"""The kinds of entities that OpenMetadata lists, and what is known of each: where, which fields, which columns.

All lists are alike: GET /v1/COLLECTION with `limit` and `after`, /v1/COLLECTION/ID for one, /v1/COLLECTION/history for
what changed. Names and types of columns are those of the API's description of version 1.13; older servers lack some.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.values import ColumnType

MOMENT: ColumnType = {"epoch": "ms"}

# Many references to what has a table of its own that refers back (`children`, `users`, `tests`), profiles and samples
# of data are not asked for: they make pages of any size, and change without a new version of the entity.
_ASSET = "owners tags followers domains extension sourceHash"


def columns(
    strings: str = "", booleans: str = "", longs: str = "", doubles: str = "", moments: str = "", json: str = ""
) -> dict[str, ColumnType]:
    """Columns by their type, names with blanks between; `moments` are milliseconds since 1970."""
    named: list[tuple[str, ColumnType]] = [
        (strings, "STRING"),
        (booleans, "BOOLEAN"),
        (longs, "LONG"),
        (doubles, "DOUBLE"),
        (moments, MOMENT),
        (json, "JSON"),
    ]
    return {name: type_ for names, type_ in named for name in names.split()}


COMMON_COLUMNS = columns(
    strings=("id name fullyQualifiedName displayName description updatedBy impersonatedBy href entityStatus provider"),
    booleans="deleted",
    doubles="version",
    moments="updatedAt",
    json=(
        "changeDescription incrementalChangeDescription owners tags domains dataProducts followers reviewers experts "
        "votes extension service children dataContract certification lifeCycle style usageSummary"
    ),
)


@dataclass(frozen=True, kw_only=True)
class Entity:
    """A kind of entity.

    table         that it is delivered to
    collection    where it is listed, below /v1
    type          what references and events call it
    fields        asked for beside those that every answer has, names with blanks between
    columns       of its own, beside COMMON_COLUMNS
    refers_to     columns with a reference, the id of which gets a column of its own
    contains      types that are deleted with it
    has_include   whether its list also gives what was marked as deleted
    has_lineage   whether lineage may lead from it
    secrets       columns in which a bot is shown passwords
    """

    table: str
    collection: str
    type: str
    fields: str = ""
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    refers_to: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    has_include: bool = True
    has_lineage: bool = False
    secrets: tuple[str, ...] = ()


def _service(kind: str, fields: str, contains: tuple[str, ...]) -> Entity:
    """A kind of service: "database", "mlmodel"."""
    return Entity(
        table=f"{'ml_model' if kind == 'mlmodel' else kind}_services",
        collection=f"services/{kind}Services",
        type=f"{kind}Service",
        fields=fields,
        columns=columns(strings="serviceType", json="connection ingestionRunner pipelines testConnectionResult"),
        contains=contains,
        secrets=("connection",),
    )


_SERVICES = (
    _service("database", "pipelines owners tags domains followers", contains=("database", "query")),
    _service("dashboard", "owners domains followers", contains=("dashboard", "chart", "dashboardDataModel")),
    _service("messaging", "owners domains followers", contains=("topic",)),
    _service("pipeline", "pipelines owners domains followers", contains=("pipeline",)),
    _service("storage", "pipelines owners tags domains followers", contains=("container",)),
    _service("mlmodel", "pipelines owners tags domains followers", contains=("mlmodel",)),
    _service("search", "pipelines owners tags domains followers", contains=("searchIndex",)),
    _service("api", "pipelines owners tags domains followers", contains=("apiCollection",)),
)

_DATABASES = (
    Entity(
        table="databases",
        collection="databases",
        type="database",
        fields=f"{_ASSET} usageSummary location certification",
        columns=columns(
            strings="retentionPeriod serviceType sourceHash sourceUrl",
            booleans="default",
            json="databaseProfilerConfig databaseSchemas location",
        ),
        refers_to=("service",),
        contains=("databaseSchema",),
    ),
    Entity(
        table="database_schemas",
        collection="databaseSchemas",
        type="databaseSchema",
        fields=f"{_ASSET} usageSummary certification",
        columns=columns(
            strings="retentionPeriod serviceType sourceHash sourceUrl",
            json="database databaseSchemaProfilerConfig tables",
        ),
        refers_to=("service", "database"),
        contains=("table", "storedProcedure"),
    ),
    Entity(
        table="tables",
        collection="tables",
        type="table",
        fields=(
            f"{_ASSET} columns tableConstraints tablePartition usageSummary customMetrics schemaDefinition dataModel "
            "testSuite dataProducts lifeCycle"
        ),
        columns=columns(
            strings=(
                "tableType schemaDefinition compressionCodec fileFormat locationPath retentionPeriod serviceType "
                "sourceHash sourceUrl"
            ),
            booleans="compressionEnabled processedLineage",
            json=(
                "columns tableConstraints tablePartition database databaseSchema location testSuite customMetrics "
                "compressionStrategy dataModel pipelineObservability queries joins profile sampleData "
                "tableProfilerConfig"
            ),
        ),
        refers_to=("service", "database", "databaseSchema", "testSuite"),
        contains=("testSuite", "testCase"),
        has_lineage=True,
    ),
    Entity(
        table="stored_procedures",
        collection="storedProcedures",
        type="storedProcedure",
        fields=f"{_ASSET} votes",
        columns=columns(
            strings="code storedProcedureType serviceType sourceHash sourceUrl",
            booleans="processedLineage",
            json="database databaseSchema storedProcedureCode",
        ),
        refers_to=("service", "database", "databaseSchema"),
        has_lineage=True,
    ),
    Entity(
        table="queries",
        collection="queries",
        type="query",
        fields="owners followers users votes tags queryUsedIn",
        columns=columns(
            strings="query checksum query_type",
            booleans="exclude_usage processedLineage",
            doubles="duration",
            moments="queryDate",
            json="queryUsedIn triggeredBy usedBy users",
        ),
        refers_to=("service",),
        has_include=False,
    ),
)

_OTHER_ASSETS = (
    Entity(
        table="dashboards",
        collection="dashboards",
        type="dashboard",
        fields=f"{_ASSET} charts dataModels usageSummary dataProducts",
        columns=columns(strings="dashboardType project serviceType sourceHash sourceUrl", json="charts dataModels"),
        refers_to=("service",),
        has_lineage=True,
    ),
    Entity(
        table="charts",
        collection="charts",
        type="chart",
        fields=f"{_ASSET} dataProducts dashboards",
        columns=columns(strings="chartType serviceType sourceHash sourceUrl", json="dashboards"),
        refers_to=("service",),
        has_lineage=True,
    ),
    Entity(
        table="dashboard_data_models",
        collection="dashboard/datamodels",
        type="dashboardDataModel",
        fields=_ASSET,
        columns=columns(strings="dataModelType project sql serviceType sourceHash sourceUrl", json="columns"),
        refers_to=("service",),
        has_lineage=True,
    ),
    Entity(
        table="pipelines",
        collection="pipelines",
        type="pipeline",
        fields=f"{_ASSET} tasks pipelineStatus scheduleInterval",
        columns=columns(
            strings=("pipelineLocation scheduleInterval startDate endDate state serviceType sourceHash sourceUrl"),
            longs="concurrency",
            json="tasks pipelineStatus",
        ),
        refers_to=("service",),
        has_lineage=True,
    ),
    Entity(
        table="topics",
        collection="topics",
        type="topic",
        fields=f"{_ASSET} dataProducts",
        columns=columns(
            strings="serviceType sourceHash sourceUrl",
            longs="partitions replicationFactor maximumMessageSize minimumInSyncReplicas",
            doubles="retentionSize retentionTime",
            json="messageSchema cleanupPolicies topicConfig sampleData",
        ),
        refers_to=("service",),
        has_lineage=True,
    ),
    Entity(
        table="containers",
        collection="containers",
        type="container",
        fields=f"{_ASSET} parent dataModel",
        columns=columns(
            strings="prefix fullPath retentionPeriod serviceType sourceHash sourceUrl",
            doubles="numberOfObjects size",
            json="parent dataModel fileFormats sampleData",
        ),
        refers_to=("service", "parent"),
        contains=("container",),
        has_lineage=True,
    ),
    Entity(
        table="search_indexes",
        collection="searchIndexes",
        type="searchIndex",
        fields=f"{_ASSET} dataProducts",
        columns=columns(strings="indexType serviceType sourceHash", json="fields searchIndexSettings sampleData"),
        refers_to=("service",),
        has_lineage=True,
    ),
    Entity(
        table="ml_models",
        collection="mlmodels",
        type="mlmodel",
        fields=f"{_ASSET} dashboard usageSummary",
        columns=columns(
            strings="algorithm target server serviceType sourceHash sourceUrl",
            json="dashboard mlFeatures mlHyperParameters mlStore",
        ),
        refers_to=("service", "dashboard"),
        has_lineage=True,
    ),
    Entity(
        table="api_collections",
        collection="apiCollections",
        type="apiCollection",
        fields="owners tags extension domains sourceHash",
        columns=columns(strings="endpointURL serviceType sourceHash", json="apiEndpoints"),
        refers_to=("service",),
        contains=("apiEndpoint",),
    ),
    Entity(
        table="api_endpoints",
        collection="apiEndpoints",
        type="apiEndpoint",
        fields=f"{_ASSET} dataProducts",
        columns=columns(
            strings="requestMethod endpointURL serviceType sourceHash",
            json="apiCollection requestSchema responseSchema",
        ),
        refers_to=("service", "apiCollection"),
        has_lineage=True,
    ),
    Entity(
        table="metrics",
        collection="metrics",
        type="metric",
        fields="owners reviewers relatedMetrics followers tags extension domains dataProducts",
        columns=columns(
            strings="metricType granularity unitOfMeasurement customUnitOfMeasurement",
            json="metricExpression relatedMetrics",
        ),
        has_lineage=True,
    ),
)

_GOVERNANCE = (
    Entity(
        table="glossaries",
        collection="glossaries",
        type="glossary",
        fields="owners tags reviewers usageCount termCount domains extension",
        columns=columns(booleans="disabled mutuallyExclusive", longs="termCount usageCount"),
        contains=("glossaryTerm",),
    ),
    Entity(
        table="glossary_terms",
        collection="glossaryTerms",
        type="glossaryTerm",
        fields="relatedTerms reviewers owners tags usageCount domains extension childrenCount",
        columns=columns(
            booleans="disabled mutuallyExclusive",
            longs="childrenCount usageCount",
            json="glossary parent synonyms references relatedTerms conceptMappings",
        ),
        refers_to=("glossary", "parent"),
        contains=("glossaryTerm",),
    ),
    Entity(
        table="classifications",
        collection="classifications",
        type="classification",
        fields="owners reviewers usageCount termCount autoClassificationConfig",
        columns=columns(
            booleans="disabled mutuallyExclusive", longs="termCount usageCount", json="autoClassificationConfig"
        ),
        contains=("tag",),
    ),
    Entity(
        table="tags",
        collection="tags",
        type="tag",
        fields="owners reviewers domains usageCount recognizers autoClassificationEnabled autoClassificationPriority",
        columns=columns(
            booleans="autoClassificationEnabled deprecated disabled mutuallyExclusive",
            longs="autoClassificationPriority usageCount",
            json="classification parent recognizers",
        ),
        refers_to=("classification", "parent"),
        contains=("tag",),
    ),
    Entity(
        table="users",
        collection="users",
        type="user",
        fields="profile roles teams domains personas defaultPersona personaPreferences",
        columns=columns(
            strings="email externalId scimUserName timezone",
            booleans="isAdmin isBot isEmailVerified allowImpersonation",
            moments="lastActivityTime lastLoginTime",
            json=(
                "profile teams roles inheritedRoles personas inheritedPersonas personaPreferences defaultPersona "
                "follows owns authenticationMechanism"
            ),
        ),
        secrets=("authenticationMechanism",),
    ),
    Entity(
        table="teams",
        collection="teams",
        type="team",
        fields="owners profile defaultRoles defaultPersona parents policies userCount childrenCount domains",
        columns=columns(
            strings="email externalId teamType",
            booleans="isJoinable",
            longs="childrenCount userCount",
            json="profile parents users owns policies defaultRoles inheritedRoles defaultPersona",
        ),
        contains=("team",),
    ),
    Entity(
        table="roles",
        collection="roles",
        type="role",
        fields="policies",
        columns=columns(booleans="allowDelete allowEdit disabled", json="policies teams users"),
    ),
    Entity(
        table="domains",
        collection="domains",
        type="domain",
        fields="tags childrenCount owners experts extension followers votes certification",
        columns=columns(strings="domainType", longs="childrenCount", json="parent assets"),
        refers_to=("parent",),
        contains=("domain", "dataProduct"),
        has_include=False,
    ),
    Entity(
        table="data_products",
        collection="dataProducts",
        type="dataProduct",
        fields="domains owners reviewers experts extension tags followers votes certification",
        columns=columns(strings="lifecycleStage", json="sla assets consumesFrom providesTo"),
        has_include=False,
    ),
)

_QUALITY = (
    Entity(
        table="test_definitions",
        collection="dataQuality/testDefinitions",
        type="testDefinition",
        fields="owners",
        columns=columns(
            strings="entityType dataQualityDimension sqlExpression validatorClass",
            booleans="enabled supportsDynamicAssertion supportsRowLevelPassedFailed",
            json="parameterDefinition supportedDataTypes supportedServices testPlatforms",
        ),
        contains=("testCase",),
    ),
    Entity(
        table="test_suites",
        collection="dataQuality/testSuites",
        type="testSuite",
        fields="owners reviewers",
        columns=columns(
            strings="serviceType",
            booleans="basic executable inherited",
            json=(
                "basicEntityReference executableEntityReference summary tests testCaseResultSummary pipelines "
                "connection ingestionRunner testConnectionResult"
            ),
        ),
        refers_to=("basicEntityReference",),
        contains=("testCase",),
    ),
    Entity(
        table="test_cases",
        collection="dataQuality/testCases",
        type="testCase",
        fields=(
            "owners reviewers entityStatus testSuite testDefinition testSuites incidentId domains tags followers "
            "dataProducts"
        ),
        columns=columns(
            strings="entityLink entityFQN testCaseStatus createdBy incidentId inspectionQuery",
            booleans="computePassedFailedRowCount useDynamicAssertion",
            longs="topDimensions",
            json="testDefinition testSuite testSuites parameterValues testCaseResult dimensionColumns failedRowsSample",
        ),
        refers_to=("testSuite", "testDefinition"),
    ),
)

ENTITIES: tuple[Entity, ...] = (*_SERVICES, *_DATABASES, *_OTHER_ASSETS, *_GOVERNANCE, *_QUALITY)
