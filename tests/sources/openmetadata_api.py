"""What OpenMetadata's REST API takes: each GET path with its query parameters, and the fields of each kind of entity.

Transcribed from OpenMetadata's own OpenAPI description of version 1.13 (Apache License 2.0).

    endpoint("/tables")                          -> Endpoint("/tables", (), {"limit": Parameter(...), ...})
    endpoint("/tables").arguments({"limit": "5"}) -> {"limit": 5, "include": "non-deleted", ...}, or a Refusal
    fields_of("/tables").optional               -> what `fields` must name to be delivered
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote
from uuid import UUID

# First the parameters, then the paths (below /api/v1) that take just these. A parameter is
#     name[!]:type[minimum..maximum][=default]
# with ! if it is required, and the values with | between them for a type if only these are taken. "-" stands for no
# parameters, a path's end in [] for two paths: with it and without it.
_PARAMETERS = """
agentId:uuid endTs:number limit:int startTs:number
  /agentExecutions
-
  /agentExecutions/{id} /aiApplications/{id}/versions[/{version}] /aiGovernancePolicies/{id}/versions[/{version}]
  /apiCollections/{id}/versions[/{version}] /apiEndpoints/{id}/versions[/{version}] /apps/installed
  /apps/marketplace/{id}/versions[/{version}] /apps/{id}/versions[/{version}] /bots/{id}/versions[/{version}]
  /charts/{id}/versions[/{version}] /classifications/{id}/versions[/{version}] /containers/name/{fqn}/ancestors
  /containers/{id}/sampleData /containers/{id}/versions[/{version}] /dashboard/datamodels/{id}/versions[/{version}]
  /dashboards/{id}/versions[/{version}] /dataContracts/{id}/results/latest /dataContracts/{id}/results/{resultId}
  /dataContracts/{id}/versions[/{version}] /dataProducts/assets/counts /dataProducts/{id}/versions[/{version}]
  /dataQuality/testCases/name/{name}/export[Async] /dataQuality/testCases/testCaseIncidentStatus/stateId/{stateId}
  /dataQuality/testCases/testCaseIncidentStatus/{id} /dataQuality/testCases/{id}/failedRowsSample
  /dataQuality/testCases/{id}/versions[/{version}] /dataQuality/testDefinitions/{id}/versions[/{version}]
  /dataQuality/testSuites/{id}/versions[/{version}] /databaseSchemas/{id}/databaseSchemaProfilerConfig
  /databaseSchemas/{id}/versions[/{version}] /databases/{id}/databaseProfilerConfig
  /databases/{id}/versions[/{version}] /docStore/{id}/versions[/{version}] /domains/assets/counts
  /domains/{id}/versions[/{version}] /drives/directories/{id}/versions[/{version}] /drives/files/{id}/sampleData
  /drives/files/{id}/versions[/{version}] /drives/spreadsheets/{id}/versions[/{version}]
  /drives/worksheets/{id}/versions[/{version}] /events/subscriptions/id/{eventSubscriptionId}/destinations
  /events/subscriptions/id/{subscriptionId}/eventsRecord
  /events/subscriptions/name/{eventSubscriptionName}/destinations
  /events/subscriptions/name/{eventSubscriptionName}/status/{destinationId}
  /events/subscriptions/name/{subscriptionName}/eventsRecord /events/subscriptions/{alertType}/resources
  /events/subscriptions/{eventSubscriptionId}/status/{destinationId} /events/subscriptions/{id}/processedEvents
  /events/subscriptions/{id}/versions[/{version}] /feed/tasks/{id} /feed/{id} /feed/{id}/posts
  /glossaries/documentation/csv /glossaries/name/{name}/export[Async] /glossaries/{id}/versions[/{version}]
  /glossaryTerms/name/{fqn}/export[Async] /glossaryTerms/relationTypes/usage /glossaryTerms/{id}/versions[/{version}]
  /governance/workflowDefinitions/{id}/versions[/{version}] /governance/workflowInstanceStates/{id}
  /learning/resources/{id}/versions[/{version}] /lineage/getLineageEdge/{fromId}/{toId}
  /llmModels/{id}/versions[/{version}] /mcpExecutions/{id} /mcpServers/{id}/versions[/{version}]
  /metadata/types/customProperties /metadata/types/{id}/versions[/{version}] /metrics/customUnits
  /metrics/{id}/versions[/{version}] /mlmodels/{id}/versions[/{version}] /notificationTemplates/helpers
  /notificationTemplates/{id}/versions[/{version}] /permissions/debug/me /permissions/debug/user/{username}
  /permissions/view/{entityType} /personas/{id}/versions[/{version}] /pipelines/{id}/versions[/{version}]
  /policies/functions /policies/resources /policies/validation/condition/{expression}
  /policies/{id}/versions[/{version}] /promptTemplates/{id}/versions[/{version}] /queries/{id}/versions[/{version}]
  /queryCostRecord/service/{serviceName} /queryCostRecord/{id} /rdf/debug/glossary-relations /rdf/status
  /roles/{id}/versions[/{version}] /scim /scim/Groups /scim/Groups/{id} /scim/Schemas /scim/ServiceProviderConfig
  /scim/Users /scim/Users/{id} /search/get/{index}/doc/{id} /search/stats /searchIndexes/{id}/sampleData
  /searchIndexes/{id}/versions[/{version}] /services/apiServices/{id}/versions[/{version}]
  /services/dashboardServices/{id}/versions[/{version}] /services/databaseServices/{id}/versions[/{version}]
  /services/driveServices/{id}/versions[/{version}] /services/ingestionPipelines/ip
  /services/ingestionPipelines/logs/{fqn}/stream/{runId} /services/ingestionPipelines/logs/{id}/last/download
  /services/ingestionPipelines/progress/{fqn}/stream/{runId} /services/ingestionPipelines/status
  /services/ingestionPipelines/{fqn}/pipelineStatus/{id} /services/ingestionPipelines/{id}/versions[/{version}]
  /services/llmServices/{id}/versions[/{version}] /services/mcpServices/{id}/versions[/{version}]
  /services/messagingServices/{id}/versions[/{version}] /services/metadataServices/{id}/versions[/{version}]
  /services/mlmodelServices/{id}/versions[/{version}] /services/pipelineServices/{id}/versions[/{version}]
  /services/searchServices/{id}/versions[/{version}] /services/securityServices/name/{name}/export[Async]
  /services/securityServices/{id}/versions[/{version}] /services/storageServices/{id}/versions[/{version}]
  /storedProcedures/{id}/versions[/{version}] /suggestions/{id} /system/diagnostics /system/version
  /tables/name/{fqn}/pipelineObservability /tables/name/{name}/export[Async] /tables/{id}/pipelineObservability
  /tables/{id}/sampleData /tables/{id}/tableProfilerConfig /tables/{id}/versions[/{version}] /tags/assets/counts
  /tags/feedback/pending /tags/feedback/{id} /tags/name/{fqn}/feedback /tags/{id}/versions[/{version}]
  /teams/assets/counts /teams/documentation/csv /teams/name/{name}/export[Async] /teams/{id}/versions[/{version}]
  /topics/{id}/sampleData /topics/{id}/versions[/{version}] /users/auth-mechanism/{id} /users/documentation/csv
  /users/generateRandomPwd /users/loggedInUser/groupTeams /users/token/{id} /users/{id}/versions[/{version}]
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
  /aiApplications /aiGovernancePolicies /apps/marketplace /glossaries /governance/workflowDefinitions /mcpServers
  /metrics /policies /promptTemplates /services/metadataServices
after:string before:string endTs!:int limit:int[1..500]=10 startTs!:int
  /aiApplications/history /aiGovernancePolicies/history /apiCollections/history /apiEndpoints/history /apps/history
  /apps/marketplace/history /bots/history /charts/history /classifications/history /containers/history
  /dashboard/datamodels/history /dashboards/history /dataContracts/history /dataProducts/history
  /dataQuality/testCases/history /dataQuality/testDefinitions/history /dataQuality/testSuites/history
  /databaseSchemas/history /databases/history /docStore/history /domains/history /drives/directories/history
  /drives/files/history /drives/spreadsheets/history /drives/worksheets/history /glossaries/history
  /glossaryTerms/history /governance/workflowDefinitions/history /learning/resources/history /llmModels/history
  /mcpServers/history /metadata/types/history /metrics/history /mlmodels/history /notificationTemplates/history
  /personas/history /pipelines/history /policies/history /promptTemplates/history /queries/history /reports/history
  /roles/history /searchIndexes/history /services/apiServices/history /services/dashboardServices/history
  /services/databaseServices/history /services/driveServices/history /services/ingestionPipelines/history
  /services/llmServices/history /services/mcpServices/history /services/messagingServices/history
  /services/metadataServices/history /services/mlmodelServices/history /services/pipelineServices/history
  /services/searchServices/history /services/securityServices/history /services/storageServices/history
  /storedProcedures/history /tables/history /tags/history /teams/history /topics/history /users/history
fields:string include:all|deleted|non-deleted=non-deleted includeRelations:string
  /aiApplications/name/{fqn} /aiApplications/{id} /aiGovernancePolicies/name/{fqn} /aiGovernancePolicies/{id}
  /apiCollections/name/{fqn} /apiCollections/{id} /apiEndpoints/name/{fqn} /apiEndpoints/{id} /charts/name/{fqn}
  /charts/{id} /classifications/{id} /containers/name/{fqn} /containers/{id} /dashboard/datamodels/name/{fqn}
  /dashboard/datamodels/{id} /dashboards/name/{fqn} /dashboards/{id} /dataContracts/name/{fqn} /dataContracts/{id}
  /dataQuality/testCases/name/{fqn} /dataQuality/testCases/{id} /dataQuality/testDefinitions/{id}
  /dataQuality/testSuites/{id} /databaseSchemas/name/{fqn} /databaseSchemas/{id} /databases/name/{fqn} /databases/{id}
  /drives/directories/name/{fqn} /drives/directories/{id} /drives/files/name/{fqn} /drives/files/{id}
  /drives/spreadsheets/name/{fqn} /drives/spreadsheets/{id} /drives/worksheets/name/{fqn} /drives/worksheets/{id}
  /glossaries/{id} /glossaryTerms/name/{fqn} /glossaryTerms/{id} /governance/workflowDefinitions/name/{fqn}
  /governance/workflowDefinitions/{id} /llmModels/name/{fqn} /llmModels/{id} /mcpServers/name/{fqn} /mcpServers/{id}
  /metadata/types/{id} /metrics/name/{fqn} /metrics/{id} /mlmodels/name/{fqn} /mlmodels/{id}
  /notificationTemplates/name/{fqn} /notificationTemplates/{id} /personas/{id} /pipelines/name/{fqn} /pipelines/{id}
  /policies/name/{fqn} /policies/{id} /promptTemplates/name/{fqn} /promptTemplates/{id} /reports/{id} /roles/{id}
  /searchIndexes/name/{fqn} /searchIndexes/{id} /services/apiServices/name/{name} /services/apiServices/{id}
  /services/dashboardServices/name/{name} /services/dashboardServices/{id} /services/databaseServices/name/{name}
  /services/databaseServices/{id} /services/driveServices/name/{fqn} /services/driveServices/{id}
  /services/ingestionPipelines/name/{fqn} /services/ingestionPipelines/{id} /services/llmServices/name/{name}
  /services/llmServices/{id} /services/messagingServices/name/{name} /services/messagingServices/{id}
  /services/metadataServices/name/{name} /services/metadataServices/{id} /services/mlmodelServices/name/{name}
  /services/mlmodelServices/{id} /services/pipelineServices/name/{fqn} /services/pipelineServices/{id}
  /services/searchServices/name/{name} /services/searchServices/{id} /services/securityServices/name/{name}
  /services/securityServices/{id} /services/storageServices/name/{name} /services/storageServices/{id}
  /storedProcedures/name/{fqn} /storedProcedures/{id} /tables/name/{fqn} /tables/{id} /tags/name/{fqn} /tags/{id}
  /teams/{id} /topics/name/{fqn} /topics/{id}
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
service:string
  /apiCollections /charts /dashboard/datamodels /dashboards /llmModels /mlmodels /pipelines /searchIndexes /topics
after:string apiCollection:string before:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 service:string
  /apiEndpoints
after:string agentType:string before:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10
  /apps
fields:string include:all|deleted|non-deleted=non-deleted
  /apps/marketplace/name/{name} /apps/marketplace/{id} /apps/name/{name} /apps/{id} /classifications/name/{name}
  /dataQuality/testDefinitions/name/{name} /dataQuality/testSuites/name/{name} /glossaries/name/{name}
  /learning/resources/name/{name} /learning/resources/{id} /metadata/types/name/{name} /personas/name/{name}
  /roles/name/{name} /services/mcpServices/name/{name} /services/mcpServices/{id} /teams/name/{name}
  /users/name/{name} /users/{id}
byName:bool=false extensionType:string limit:int[0..1000000]=10 offset:int[0..1000000]=0 startTs:number
  /apps/name/{name}/extension
limit:int[0..1000]=10 offset:int[0..]=0
  /apps/name/{name}/live-indexing-queue
after:string limit:int=1000 runId:string
  /apps/name/{name}/logs
after:string
  /apps/name/{name}/runs/latest
endTs:number limit:int[0..1000]=10 offset:int[0..1000]=0 startTs:number
  /apps/name/{name}/status
actorType:string after:string before:string endTs:int entityFQN:string entityType:string eventType:string
limit:int[1..200]=25 q:string serviceName:string startTs:int userName:string
  /audit/logs
actorType:string endTs!:int entityType:string eventType:string limit:int[1..100000]=10000 q:string serviceName:string
startTs!:int userName:string
  /audit/logs/export
after:string before:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
  /bots
include:all|deleted|non-deleted=non-deleted
  /bots/name/{name} /bots/{id} /docStore/name/{name} /docStore/{id} /metadata/types/fields/{entityType}
  /metadata/types/name/{entityType}/customProperties
fieldPrefix:string limit:int[1..1000]=10 offset:int[0..]=0
  /changeSummary/{entityType}/name/{fqn} /changeSummary/{entityType}/{id}
after:string before:string disabled:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10
  /classifications
columnName:string databaseName:string domainId:string entityTypes:string schemaName:string serviceName:string
  /columns/export /columns/search
columnNamePattern:string cursor:string databaseName:string domainId:string entityTypes:string glossaryTerms:string
hasConflicts:bool=false hasMissingMetadata:bool=false metadataStatus:MISSING|INCOMPLETE|COMPLETE schemaName:string
serviceName:string serviceTypes:string size:int=1000 tags:string
  /columns/grid
entityType!:table|dashboardDataModel fields:string include:all|deleted|non-deleted=non-deleted
  /columns/name/{fqn}
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
root:bool=false service:string
  /containers
include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10 offset:int[0..]=0 q:string
  /containers/name/{fqn}/children
fields:string include:all|deleted|non-deleted=non-deleted limit:int[1..1000]=50 offset:int[0..]=0
  /dashboard/datamodels/name/{fqn}/columns /dashboard/datamodels/{id}/columns
fields:string include:all|deleted|non-deleted=non-deleted limit:int[1..1000]=50 offset:int[0..]=0 q:string
  /dashboard/datamodels/name/{fqn}/columns/search /dashboard/datamodels/{id}/columns/search
after:string before:string entity:uuid fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 status:string
  /dataContracts
entityId:string entityType:string fields:string
  /dataContracts/entity
fields:string
  /dataContracts/name/{fqn}/odcs /dataContracts/name/{fqn}/odcs/yaml /dataContracts/{id}/odcs
  /dataContracts/{id}/odcs/yaml /dataProducts/name/{name} /dataProducts/{id} /dataProducts/{id}/dataContract
  /domains/name/{name} /domains/{id} /events/subscriptions/name/{eventSubscriptionName} /events/subscriptions/{id}
  /queries/name/{fqn} /queries/{id} /reports /users/loggedInUser
endTs:number limit:int[0..10000]=10 startTs:number
  /dataContracts/{id}/results
after:string before:string domain:string fields:string limit:int[0..1000000]=10
  /dataProducts
limit:int[1..1000]=10 offset:int[0..]=0
  /dataProducts/name/{fqn}/assets /dataProducts/{id}/assets /domains/name/{fqn}/assets /domains/{id}/assets
  /glossaryTerms/name/{fqn}/assets /glossaryTerms/{id}/assets /tags/name/{fqn}/assets /tags/{id}/assets
  /teams/name/{fqn}/assets /teams/{id}/assets /users/name/{name}/assets /users/{id}/assets
fields:string limit:int[1..1000]=50 offset:int[0..]=0
  /dataProducts/name/{fqn}/inputPorts /dataProducts/name/{fqn}/outputPorts /dataProducts/{id}/inputPorts
  /dataProducts/{id}/outputPorts
fields:string inputLimit:int[1..1000]=50 inputOffset:int[0..]=0 outputLimit:int[1..1000]=50 outputOffset:int[0..]=0
  /dataProducts/name/{fqn}/portsView /dataProducts/{id}/portsView
after:string before:string columnName:string createdBy:string entityFQN:string entityLink:string fields:string
include:all|deleted|non-deleted=non-deleted includeAllTests:bool=false limit:int[0..1000000]=10
testCaseStatus:Success|Failed|Aborted|Queued testCaseType:column|table|all=all testSuiteId:uuid
  /dataQuality/testCases
dimensionName:string dimensionalityKey:string endTs:number startTs:number
  /dataQuality/testCases/dimensionResults/{fqn}
endTs:number startTs:number
  /dataQuality/testCases/dimensionResults/{fqn}/dimensions /dataQuality/testCases/testCaseResults/{fqn}
  /tables/{fqn}/tableProfile
columnName:string createdBy:string dataQualityDimension:string domain:string endTimestamp:int entityLink:string
fields:string followedBy:string include:all|deleted|non-deleted=non-deleted includeAllTests:bool=false
includeFields:string limit:int[0..1000000]=10 offset:string=0 owner:string q:string queryString:string
serviceName:string sortField:string sortNestedMode:string sortNestedPath:string sortType:asc|desc=desc
startTimestamp:int tags:string testCaseStatus:Success|Failed|Aborted|Queued testCaseType:column|table|all=all
testPlatforms:string testSuiteId:string tier:string
  /dataQuality/testCases/search/list
assignee:string domain:string endTs:number include:all|deleted|non-deleted=non-deleted latest:bool=false
limit:int[0..1000000]=10 offset:string originEntityFQN:string startTs:number testCaseFQN:string testCaseId:uuid
testCaseResolutionStatusType:New|Ack|Assigned|Resolved
  /dataQuality/testCases/testCaseIncidentStatus
assignee:string dateField:timestamp|updatedAt=timestamp domain:string endTs:number
include:all|deleted|non-deleted=non-deleted latest:bool=false limit:int[0..1000000]=10 offset:string=0
originEntityFQN:string sortField:string sortType:asc|desc=desc startTs:number testCaseFQN:string
testCaseResolutionStatusType:New|Ack|Assigned|Resolved
  /dataQuality/testCases/testCaseIncidentStatus/search/list
fields:string q:string testCaseFQN:string testCaseStatus:Success|Failed|Aborted|Queued testSuiteId:string
  /dataQuality/testCases/testCaseResults/search/latest
dataQualityDimension:Completeness|Accuracy|Consistency|Validity|Uniqueness|Integrity|SQL endTimestamp:number
entityFQN:string fields:string latest:bool=false limit:int[0..1000000]=10 offset:string=0 q:string queryString:string
startTimestamp:number testCaseFQN:string testCaseStatus:Success|Failed|Aborted|Queued
testCaseType:column|table|all=all testSuiteId:string
  /dataQuality/testCases/testCaseResults/search/list
after:string before:string enabled:bool entityType:TABLE|COLUMN fields:string
include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
supportedDataType:NUMBER|TINYINT|SMALLINT|INT|BIGINT|BYTEINT|BYTES|FLOAT|DOUBLE|DECIMAL|NUMERIC|TIMESTAMP|TIMESTAMPZ|TIME|DATE|DATETIME|INTERVAL|STRING|MEDIUMTEXT|TEXT|CHAR|LONG|VARCHAR|BOOLEAN|BINARY|VARBINARY|ARRAY|BLOB|LONGBLOB|MEDIUMBLOB|MAP|STRUCT|UNION|SET|GEOGRAPHY|ENUM|JSON|UUID|VARIANT|GEOMETRY|BYTEA|AGGREGATEFUNCTION|ERROR|FIXED|RECORD|NULL|SUPER|HLLSKETCH|PG_LSN|PG_SNAPSHOT|TSQUERY|TXID_SNAPSHOT|XML|MACADDR|TSVECTOR|UNKNOWN|CIDR|INET|CLOB|ROWID|LOWCARDINALITY|YEAR|POINT|POLYGON|TUPLE|SPATIAL|TABLE|NTEXT|IMAGE|IPV4|IPV6|DATETIMERANGE|HLL|LARGEINT|QUANTILE_STATE|AGG_STATE|BITMAP|UINT|BIT|MONEY|MEASURE%20HIDDEN|MEASURE%20VISIBLE|MEASURE|KPI|HEIRARCHY|HIERARCHYID
supportedService:string testPlatform:OpenMetadata|GreatExpectations|dbt|Deequ|Soda|Other
  /dataQuality/testDefinitions
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted includeEmptyTestSuites:bool=true
limit:int[0..1000000]=10 testSuiteType:string
  /dataQuality/testSuites
aggregationQuery:string domain:string index:string q:string
  /dataQuality/testSuites/dataQualityReport
testSuiteId:uuid
  /dataQuality/testSuites/executionSummary
domain:string fields:string fullyQualifiedName:string include:all|deleted|non-deleted=non-deleted
includeEmptyTestSuites:bool=true limit:int[0..1000000]=10 offset:string=0 owner:string q:string queryString:string
sortField:string sortNestedMode:string sortNestedPath:string sortType:asc|desc=desc testSuiteType:string
  /dataQuality/testSuites/search/list
after:string before:string database:string databaseSchemaRegex:string fields:string
include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10 regexFilterByFqn:bool=false
regexMode:include|exclude=include
  /databaseSchemas
fields:string=* fqn:string from:int=0 includeDeleted:bool=false limit:int=10 offset:int=0 query_filter:string
size:int=1000
  /databaseSchemas/entityRelationship
recursive:bool=false
  /databaseSchemas/name/{name}/export[Async] /databases/name/{name}/export[Async]
  /services/databaseServices/name/{name}/export[Async] /services/driveServices/name/{name}/export
after:string before:string databaseRegex:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 regexFilterByFqn:bool=false regexMode:include|exclude=include service:string
  /databases
after:string before:string entityType:string fqnPrefix:string limit:int[0..1000000]=10
  /docStore
after:string before:string fields:string limit:int[0..1000000]=10
  /domains /personas
directChildrenOf:string fields:string limit:int[0..1000000]=10 offset:int[0..]=0
  /domains/hierarchy
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
parent:string root:bool=false service:string
  /drives/directories
name:string
  /drives/directories/export
after:string before:string directory:string fields:string fileType:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 root:bool=false service:string
  /drives/files
after:string before:string directory:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 root:bool=false service:string
  /drives/spreadsheets
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
service:string spreadsheet:string
  /drives/worksheets
entityCreated:string entityDeleted:string entityRestored:string entityUpdated:string timestamp!:int
  /events
after:string alertType:string before:string fields:string limit:int[0..1000000]=10 notificationTemplate:uuid
  /events/subscriptions
limit:int[0..]=15 paginationOffset:int=0 source:string
  /events/subscriptions/id/{id}/failedEvents /events/subscriptions/listAllFailedEvents
  /events/subscriptions/name/{eventSubscriptionName}/failedEvents
limit:int[0..]=15 paginationOffset:int=0 status:failed|successful
  /events/subscriptions/id/{id}/listEvents
limit:int[0..]=15 paginationOffset:int=0
  /events/subscriptions/id/{id}/listSuccessfullySentChangeEvents
  /events/subscriptions/name/{eventSubscriptionName}/listSuccessfullySentChangeEvents
limit:int[0..]=15 listCountOnly:bool=false paginationOffset:int=0
  /events/subscriptions/id/{subscriptionId}/diagnosticInfo
  /events/subscriptions/name/{subscriptionName}/diagnosticInfo
activeAnnouncement:bool after:string before:string entityLink:string
filterType:OWNER|MENTIONS|FOLLOWS|ASSIGNED_TO|ASSIGNED_BY|OWNER_OR_FOLLOWS limit:int[1..1000000]=10
limitPosts:int[0..1000000]=3 resolved:bool=false taskStatus:Open|Closed type:Conversation|Task|Announcement|Chatbot
userId:string
  /feed
entityLink:string
  /feed/count
after:string before:string directChildrenOf:string entityStatus:string fields:string glossary:string
include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10 parent:string
  /glossaryTerms
parent:string
  /glossaryTerms/assets/counts
fields:string ids:string include:all|deleted|non-deleted=non-deleted includeRelations:string
  /glossaryTerms/byIds
entityStatus:string fields:string glossary:uuid glossaryFqn:string include:all|deleted|non-deleted=non-deleted
limit:int[1..1000]=50 offset:int[0..]=0 parent:uuid parentFqn:string q:string
  /glossaryTerms/search
depth:int[1..5]=1 relationTypes:string
  /glossaryTerms/{id}/relationsGraph
endTs:number latest:bool=false limit:int[0..1000000]=10 offset:string startTs:number
  /governance/workflowInstanceStates /governance/workflowInstanceStates/{workflowDefinitionName}/{workflowInstanceId}
endTs:number entityLink:string latest:bool=false limit:int[0..1000000]=10 offset:string startTs:number
workflowDefinitionName:string
  /governance/workflowInstances
after:string before:string category:string componentId:string difficulty:string fields:string
include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10 pageId:string resourceType:string search:string
status:string
  /learning/resources
downstreamDepth:int fqn:string includeDeleted:bool query_filter:string type:string upstreamDepth:int
  /lineage/export[Async]
direction!:Upstream|Downstream downstreamDepth:int entityType:string fields:string=* fqn!:string from:int[0..]=0
includeDeleted:bool=false maxDepth:int=10000 nodeDepth!:int query_filter:string size:int=10000 upstreamDepth:int
  /lineage/exportByEntityCountAsync
fqn:string includeDeleted:bool query_filter:string upstreamDepth:int
  /lineage/getDataQualityLineage
column_filter:string downstreamDepth:int fields:string=* fqn:string from:int=0 includeDeleted:bool
preserve_paths:bool=true query_filter:string size:int=1000 type:string upstreamDepth:int
  /lineage/getLineage /lineage/getLineage/{direction}
column_filter:string direction!:Upstream|Downstream downstreamDepth:int=10000 entityType:string fields:string=*
fqn!:string from:int[0..]=0 includeDeleted:bool=false include_pagination_info:bool=false maxDepth:int=10000
nodeDepth!:int preserve_paths:bool=false query_filter:string size:int=10000 upstreamDepth:int=10000
  /lineage/getLineageByEntityCount
downstreamDepth:int=10000 fqn:string includeDeleted:bool=false query_filter:string type:string upstreamDepth:int=10000
  /lineage/getPaginationInfo
includeDeleted:bool query_filter:string view:service|domain|dataProduct|all
  /lineage/getPlatformLineage
downstreamDepth:int[0..3]=1 upstreamDepth:int[0..3]=1
  /lineage/{entity}/name/{fqn} /lineage/{entity}/{id}
endTs:int startTs:int
  /mcp/usage/breakdown/tools /mcp/usage/breakdown/users /mcp/usage/history /mcp/usage/me /mcp/usage/summary
endTs:number limit:int=10 serverId:uuid startTs:number
  /mcpExecutions
after:string before:string category:string limit:int[0..1000000]=10
  /metadata/types
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted limit:int[0..1000000]=10
provider:system|user|automation
  /notificationTemplates
user:string
  /permissions /permissions/{resource} /permissions/{resource}/name/{name} /permissions/{resource}/{id}
operation!:All|Create|BulkCreate|CreateIngestionPipelineAutomator|CreateTests|Delete|ViewAll|ViewBasic|ViewUsage|ViewTests|ViewQueries|ViewDataProfile|ViewProfilerGlobalConfiguration|ViewSampleData|ViewTestCaseFailedRowsSample|ViewCustomFields|EditAll|BulkUpdate|EditCustomFields|EditDataProfile|EditDescription|EditDisplayName|EditLineage|EditEntityRelationship|EditPolicy|EditOwners|EditQueries|EditReviewers|EditRole|EditSampleData|EditStatus|EditTags|EditGlossaryTerms|EditTeams|EditTier|EditCertification|EditTests|EditUsage|EditUsers|EditLifeCycle|EditKnowledgePanel|EditPage|EditIngestionPipelineStatus|EditUserNotificationTemplate|DeleteTestCaseFailedRowsSample|Deploy|Trigger|Kill|GenerateToken|EditScim|CreateScim|DeleteScim|ViewScim|Impersonate|AuditLogs|ViewTestDefinitionLibrary|EditTestDefinitionLibrary
resource!:string resourceId:string user!:string
  /permissions/debug/evaluate
ids:array
  /permissions/policies
domain:string endTs!:number limit:int=30 offset:int[0..]=0 owner:string pipelineFqn:string service:string
serviceType:string startTs!:number status:string tier:string
  /pipelines/executionTrend /pipelines/runtimeTrend
domain:string endTs:number owner:string q:string service:string serviceType:string startTs:number status:string
tier:string
  /pipelines/metrics
after:string before:string endTs:number limit:int=10 search:string serviceType:string startTs:number status:string
  /pipelines/name/{fqn}/observability
after:string before:string domain:string endTs:number fields:string include:all|deleted|non-deleted=non-deleted
limit:int[1..1000]=10 owner:string search:string service:string startTs:number status:string tier:string
  /pipelines/summary
after:string before:string endTs!:number limit:int[0..1000000] maxDuration:number minDuration:number search:string
startTs!:number status:string
  /pipelines/{fqn}/status
after:string before:string entityId:uuid entityType:string fields:string limit:int[0..1000000]=10 service:string
  /queries
format:string=jsonld
  /rdf/entity/{entityType}/{id}
glossaryId:uuid includeIsolated:bool=true limit:int=500 offset:int=0 relationTypes:string
  /rdf/glossary/graph
format:string=turtle includeRelations:bool=true
  /rdf/glossary/{id}/export
depth:int=2 entityId!:uuid entityType!:string entityTypes:string relationshipTypes:string
  /rdf/graph/explore
depth:int=2 entityId!:uuid entityType!:string entityTypes:string format:string=turtle relationshipTypes:string
  /rdf/graph/explore/export
direction:string=both entityType!:string
  /rdf/inference/lineage/{entityId}
limit:int=10 type:string
  /rdf/search/recommendations/{userId}
limit:int=10 q!:string type:string
  /rdf/search/semantic
limit:int=10
  /rdf/search/similar/{entityType}/{id} /services/ingestionPipelines/logs/{fqn}
format:string=json inference:string=none query!:string
  /rdf/sparql
after:string before:string default:bool fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10
  /roles
fields:string include:all|deleted|non-deleted=non-deleted limit:int[1..1000]=10 offset:int[0..]=0 q:string
  /roles/search
deleted:bool=false field:string index:string=table q!:string queryText:string size:int=10 sourceFields:string
value:string
  /search/aggregate
deleted:bool index:string=dataAsset post_filter:string q!:string query_filter:string
  /search/entityTypeCounts
deleted:bool from:int=0 index:string=table post_filter:string q:string=* query_filter:string size:int
sort_field:string=_score sort_order:string=desc
  /search/export
deleted:bool=false fieldName:string fieldValue:string from:int=0 index:string=table size:int=10
  /search/fieldQuery
deleted:bool=false exclude_source_fields:array explain:bool=false fetch_source:bool=true from:int=0
getHierarchy:bool=false include_source_fields:array index:string=table post_filter:string q:string query_filter:string
search_after:array size:int=10 sort_field:string=_score sort_order:string=desc track_total_hits:bool=false
  /search/nlq/query
deleted:bool exclude_source_fields:array explain:bool=false fetch_source:bool=true from:int=0 getHierarchy:bool=false
include_aggregations:bool=true include_source_fields:array index:string=table post_filter:string q!:string=*
query_filter:string search_after:array size:int=10 sort_field:string=_score sort_order:string=desc
track_total_hits:bool=false
  /search/query
entityType:string limit:int=50 offset:int=0
  /search/reindex/failures
sourceUrl:string
  /search/sourceUrl
after:string before:string domain:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10
  /services/apiServices /services/databaseServices /services/driveServices /services/llmServices /services/mcpServices
  /services/messagingServices /services/mlmodelServices /services/pipelineServices /services/searchServices
  /services/securityServices /services/storageServices
after:string before:string domain:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 name:string
  /services/dashboardServices
after:string applicationType:string before:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 pipelineType:string provider:system|user|automation service:string serviceType:string
testSuite:string
  /services/ingestionPipelines
after:string limit:int=1000
  /services/ingestionPipelines/logs/{fqn}/{runId} /services/ingestionPipelines/logs/{id}/last
endTs:number limit:int[1..] startTs:number
  /services/ingestionPipelines/{fqn}/pipelineStatus
after:string before:string databaseSchema:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10
  /storedProcedures
after:string before:string entityFQN:string limit:int[1..1000000]=10 status:string=Open userId:string
  /suggestions
after:string before:string database:string databaseSchema:string databaseSchemaRegex:string fields:string
include:all|deleted|non-deleted=non-deleted includeEmptyTestSuite:bool=true limit:int[0..1000000]=10
regexFilterByFqn:bool=false regexMode:include|exclude=include tableRegex:string
  /tables
downstreamDepth:int fields:string=* fqn:string from:int=0 includeDeleted:bool=false query_filter:string size:int=1000
upstreamDepth:int
  /tables/entityRelationship
downstreamDepth:int=3 fields:string=* fqn:string from:int=0 includeDeleted:bool=false query_filter:string
size:int=1000 upstreamDepth:int=3
  /tables/entityRelationship/{direction}
fields:string include:all|deleted|non-deleted=non-deleted limit:int[1..1000]=50 offset:int[0..]=0
sortBy:name|ordinalPosition=name sortOrder:asc|desc=asc
  /tables/name/{fqn}/columns /tables/{id}/columns
fields:string include:all|deleted|non-deleted=non-deleted limit:int[1..1000]=50 offset:int[0..]=0 q:string
sortBy:name|ordinalPosition=name sortOrder:asc|desc=asc
  /tables/name/{fqn}/columns/search /tables/{id}/columns/search
endTs!:number startTs!:number
  /tables/{fqn}/columnProfile /tables/{fqn}/systemProfile
includeColumnProfile:bool=true
  /tables/{fqn}/tableProfile/latest
after:string before:string disabled:string fields:string include:all|deleted|non-deleted=non-deleted
limit:int[0..1000000]=10 parent:string
  /tags
after:string before:string limit:int[0..1000000]=10
  /tags/name/{fqn}/recognizers /tags/{id}/recognizers
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted isJoinable:bool
limit:int[0..1000000]=10 parentTeam:string
  /teams
isJoinable:bool limit:int[1000..1000000]=10000
  /teams/hierarchy
date:string days:int
  /usage/{entity}/name/{fqn} /usage/{entity}/{id}
after:string before:string fields:string include:all|deleted|non-deleted=non-deleted isAdmin:bool isBot:bool
limit:int[0..1000000]=10 team:string
  /users
team!:string
  /users/export[Async]
after:string before:string fields:string limit:int[0..1000000]=10 timeWindow:int[0..]=5
  /users/online
username:string
  /users/security/token
"""

# The fields that `fields` may name, for each kind of entity: those with ? are delivered only if it does, the others
# always. That `columns` are always there is from the documentation's example of a list of tables.
_FIELDS = """
/apiCollections apiEndpoints? certification dataContract dataProducts domains? endpointURL entityStatus extension?
  lifeCycle owners? service serviceType sourceHash? tags? votes
/apiEndpoints apiCollection certification dataContract dataProducts? domains? endpointURL entityStatus extension?
  followers? lifeCycle owners? requestMethod requestSchema responseSchema service serviceType sourceHash? tags? votes
/charts certification chartType dashboards? dataContract dataProducts? domains? entityStatus extension? followers?
  lifeCycle owners? service serviceType sourceHash? sourceUrl tags? usageSummary votes
/classifications autoClassificationConfig? disabled entityStatus mutuallyExclusive owners? provider reviewers?
  termCount? usageCount?
/containers certification children dataContract dataModel? dataProducts domains? entityStatus extension? fileFormats
  followers? fullPath lifeCycle numberOfObjects owners? parent? prefix retentionPeriod sampleData? service serviceType
  size sourceHash? sourceUrl tags? votes
/dashboard/datamodels certification columns dataContract dataModelType dataProducts domains? entityStatus extension?
  followers? lifeCycle owners? project service serviceType sourceHash? sourceUrl sql tags? votes
/dashboards certification charts? dashboardType dataContract dataModels? dataProducts? domains? entityStatus
  extension? followers? lifeCycle owners? project service serviceType sourceHash? sourceUrl tags? usageSummary? votes
/dataProducts assets certification? children consumesFrom dataProducts domains? entityStatus experts? extension?
  followers? lifecycleStage owners? provider providesTo reviewers? service sla style tags? votes?
/dataQuality/testCases children computePassedFailedRowCount createdBy dataProducts? dimensionColumns domains?
  entityFQN entityLink entityStatus? experts extension failedRowsSample followers? incidentId? inspectionQuery owners?
  parameterValues provider reviewers? service style tags? testCaseResult testCaseStatus testDefinition? testSuite?
  testSuites? topDimensions useDynamicAssertion
/dataQuality/testDefinitions children dataProducts dataQualityDimension enabled entityType experts extension followers
  owners? parameterDefinition provider reviewers service sqlExpression style supportedDataTypes supportedServices
  supportsDynamicAssertion supportsRowLevelPassedFailed tags testPlatforms validatorClass
/dataQuality/testSuites basic basicEntityReference children connection dataContract dataProducts executable
  executableEntityReference experts extension followers ingestionRunner inherited owners? pipelines provider
  reviewers? service serviceType style summary? tags testCaseResultSummary testConnectionResult tests?
/databaseSchemas certification? dataContract dataProducts database databaseSchemaProfilerConfig domains? entityStatus
  extension? followers? lifeCycle owners? retentionPeriod service serviceType sourceHash? sourceUrl tables? tags?
  usageSummary? votes
/databases certification? dataContract dataProducts databaseProfilerConfig databaseSchemas? default domains?
  entityStatus extension? followers? lifeCycle location? owners? retentionPeriod service serviceType sourceHash?
  sourceUrl tags? usageSummary? votes
/domains assets certification? children? childrenCount? dataProducts domainType entityStatus experts? extension?
  followers? owners? parent provider reviewers service style tags? votes?
/glossaries dataContract dataProducts disabled domains? entityStatus extension? mutuallyExclusive owners? provider
  reviewers? tags? termCount? usageCount? votes
/glossaryTerms children? childrenCount? conceptMappings dataContract dataProducts disabled domains? entityStatus
  extension? glossary mutuallyExclusive owners? parent provider references relatedTerms? reviewers? style synonyms
  tags? usageCount? votes
/metrics certification customUnitOfMeasurement dataContract dataProducts? domains? entityStatus extension? followers?
  granularity metricExpression metricType owners? relatedMetrics? reviewers? tags? unitOfMeasurement votes
/mlmodels algorithm certification dashboard? dataContract dataProducts domains? entityStatus extension? followers?
  lifeCycle mlFeatures mlHyperParameters mlStore owners? server service serviceType sourceHash? sourceUrl tags? target
  usageSummary? votes
/pipelines certification concurrency dataContract dataProducts domains? endDate entityStatus extension? followers?
  lifeCycle owners? pipelineLocation pipelineStatus? scheduleInterval? service serviceType sourceHash? sourceUrl
  startDate state tags? tasks? usageSummary votes
/queries checksum children dataProducts duration entityStatus exclude_usage experts extension followers? owners?
  processedLineage provider query queryDate queryUsedIn? query_type reviewers service style tags? triggeredBy usedBy
  users? votes?
/roles allowDelete allowEdit disabled policies? provider teams? users?
/searchIndexes certification dataContract dataProducts? domains? entityStatus extension? fields followers? indexType
  lifeCycle owners? sampleData searchIndexSettings service serviceType sourceHash? tags? votes
/services/apiServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner owners?
  pipelines? serviceType tags? testConnectionResult
/services/dashboardServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner
  owners? pipelines serviceType tags testConnectionResult
/services/databaseServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner
  owners? pipelines? serviceType tags? testConnectionResult
/services/messagingServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner
  owners? pipelines serviceType tags testConnectionResult
/services/mlmodelServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner
  owners? pipelines? serviceType tags? testConnectionResult
/services/pipelineServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner
  owners? pipelines? serviceType tags testConnectionResult
/services/searchServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner owners?
  pipelines? serviceType tags? testConnectionResult
/services/storageServices connection dataContract dataProducts domains? entityStatus followers? ingestionRunner
  owners? pipelines? serviceType tags? testConnectionResult
/storedProcedures certification code dataContract dataProducts database databaseSchema domains? entityStatus
  extension? followers? lifeCycle owners? processedLineage service serviceType sourceHash? sourceUrl
  storedProcedureCode storedProcedureType tags? votes?
/tables certification columns compressionCodec compressionEnabled compressionStrategy customMetrics? dataContract
  dataModel? dataProducts? database databaseSchema domains? entityStatus extension? fileFormat followers? joins?
  lifeCycle? location locationPath owners? pipelineObservability processedLineage profile queries retentionPeriod
  sampleData? schemaDefinition? service serviceType sourceHash? sourceUrl tableConstraints? tablePartition?
  tableProfilerConfig tableType tags? testSuite? usageSummary? votes
/tags autoClassificationEnabled? autoClassificationPriority? children? classification dataContract dataProducts
  deprecated disabled domains? entityStatus mutuallyExclusive owners? parent provider recognizers? reviewers? style
  usageCount?
/teams children? childrenCount? defaultPersona? defaultRoles? domains? email externalId inheritedRoles isJoinable
  owners? owns? parents? policies? profile? teamType userCount? users?
/topics certification cleanupPolicies dataContract dataProducts? domains? entityStatus extension? followers? lifeCycle
  maximumMessageSize messageSchema minimumInSyncReplicas owners? partitions replicationFactor retentionSize
  retentionTime sampleData service serviceType sourceHash? sourceUrl tags? topicConfig votes
/users allowImpersonation authenticationMechanism defaultPersona? domains? email externalId follows? inheritedPersonas
  inheritedRoles isAdmin isBot isEmailVerified lastActivityTime lastLoginTime owns? personaPreferences? personas?
  profile? roles? scimUserName teams? timezone
"""

# Every kind of entity has these beside its own; `domains` is delivered only if asked for.
_COMMON_FIELDS = """
changeDescription deleted description displayName domains fullyQualifiedName href id impersonatedBy
incrementalChangeDescription name updatedAt updatedBy version
"""


class Refusal(Exception):
    """An answer that says no, as `body` puts it."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": status, "errorType": error_type, "message": message}


def bad_request(message: str) -> Refusal:
    """A request that is wrong in itself."""
    return Refusal(400, "BAD_REQUEST", message)


def not_found(message: str) -> Refusal:
    """A path or an entity that is not there."""
    return Refusal(404, "ENTITY_NOT_FOUND", message)


@dataclass(frozen=True)
class Parameter:
    """A query parameter: int, number, bool, uuid, string or array, or one of `choices`."""

    name: str
    type: str
    required: bool = False
    default: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()

    def value(self, text: str) -> Any:
        """What `text` stands for. Raises Refusal for what the parameter does not take."""
        if self.choices and text not in self.choices:
            raise bad_request(f"query param {self.name} must be one of [{', '.join(self.choices)}]")
        try:
            value = _PARSERS.get(self.type, str)(text)
        except (KeyError, ValueError):
            raise bad_request(f"query param {self.name} is not a valid {self.type}: {text}") from None
        if self.minimum is not None and value < self.minimum:
            raise bad_request(f"query param {self.name} must be greater than or equal to {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise bad_request(f"query param {self.name} must be less than or equal to {self.maximum}")
        return value


@dataclass(frozen=True)
class Endpoint:
    """A path as OpenAPI writes it, the values of its {}, and what its query may hold."""

    path: str
    values: tuple[str, ...]
    parameters: Mapping[str, Parameter]

    def arguments(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The value of each parameter, None where there is neither a value nor a default. Raises Refusal."""
        for name in query:
            if name not in self.parameters:
                raise bad_request(f"query param {name} is not known for {self.path}")
        if query.get("before") and query.get("after"):
            raise bad_request("Only one of before or after query parameter allowed")
        arguments: dict[str, Any] = {}
        for parameter in self.parameters.values():
            text = query.get(parameter.name, parameter.default)
            if text is None and parameter.required:
                raise bad_request(f"query param {parameter.name} must not be null")
            arguments[parameter.name] = None if text is None else parameter.value(text)
        return arguments


@dataclass(frozen=True)
class Fields:
    """The fields of a kind of entity: those that `fields` may name, and of them those that it must name."""

    known: frozenset[str] = field(default_factory=frozenset)
    optional: frozenset[str] = field(default_factory=frozenset)


def endpoint(path: str) -> Endpoint:
    """The endpoint that answers `path`, which starts below /api/v1 and is still percent-encoded. Raises Refusal."""
    segments = path.split("/")
    for template, pattern, parameters in _endpoints().get(len(segments), ()):
        if all(part == segment or part.startswith("{") for part, segment in zip(pattern, segments, strict=True)):
            values = [unquote(segment) for part, segment in zip(pattern, segments, strict=True) if part.startswith("{")]
            return Endpoint(template, tuple(values), parameters)
    raise not_found("HTTP 404 Not Found")


@cache
def fields_of(path: str) -> Fields:
    """The fields of the entities that are listed under `path`, "/tables" for instance."""
    for line in _FIELDS.replace("\n  ", " ").split("\n"):
        listed, _, names = line.partition(" ")
        if listed == path:
            words = names.split()
            optional = {name[:-1] for name in words if name.endswith("?")} | {"domains"}
            return Fields(frozenset({name.rstrip("?") for name in words} | _COMMON), frozenset(optional))
    raise KeyError(path)


def _boolean(text: str) -> bool:
    """Raises KeyError for what is neither true nor false."""
    return {"true": True, "false": False}[text.lower()]


def _integer(text: str) -> int:
    """Raises ValueError for more than a sign and digits: int() takes spaces and underscores too."""
    if not text.removeprefix("-").isdecimal():
        raise ValueError(text)
    return int(text)


_PARSERS: Mapping[str, Any] = {"int": _integer, "number": float, "bool": _boolean, "uuid": UUID}
_COMMON = frozenset(_COMMON_FIELDS.split())


@cache
def _endpoints() -> dict[int, list[tuple[str, list[str], dict[str, Parameter]]]]:
    """(path, its segments, parameters) by the number of segments; a path without {} comes before one with."""
    found: dict[int, list[tuple[str, list[str], dict[str, Parameter]]]] = {}
    parameters: dict[str, Parameter] = {}
    after_path = True
    for word in _PARAMETERS.split():
        if not word.startswith("/"):
            if after_path:
                parameters = {}
            if word != "-":
                parameter = _parameter(word)
                parameters[parameter.name] = parameter
        else:
            stem, _, end = word.partition("[")
            for path in [stem, stem + end[:-1]] if end else [word]:
                segments = path.split("/")
                found.setdefault(len(segments), []).append((path, segments, parameters))
        after_path = word.startswith("/")
    for same_length in found.values():
        same_length.sort(key=lambda known: [segment.startswith("{") for segment in known[1]])
    return found


def _parameter(word: str) -> Parameter:
    """Reads a parameter.

    >>> _parameter("limit!:int[0..500]=10")
    Parameter(name='limit', type='int', required=True, default='10', minimum=0, maximum=500, choices=())
    """
    name, _, rest = word.partition(":")
    rest, _, default = rest.partition("=")
    kind, _, bounds = rest.partition("[")
    minimum, _, maximum = bounds.rstrip("]").partition("..")
    return Parameter(
        name.rstrip("!"),
        "string" if "|" in kind else kind,
        name.endswith("!"),
        default or None,
        int(minimum) if minimum else None,
        int(maximum) if maximum else None,
        tuple(unquote(choice) for choice in kind.split("|")) if "|" in kind else (),
    )
