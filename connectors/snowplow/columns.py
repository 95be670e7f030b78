"""The columns of the tables, named as the API names them."""

DATA_STRUCTURE = {
    "hash": "STRING",
    "organizationId": "STRING",
    "vendor": "STRING",
    "name": "STRING",
    "format": "STRING",
    "description": "STRING",
    "meta": "JSON",
    "deployments": "JSON",
}
DEPLOYMENT = {
    "hash": "STRING",
    "env": "STRING",
    "version": "STRING",
    "patchLevel": "LONG",
    "ts": "UTC_DATETIME",
    "contentHash": "STRING",
    "message": "STRING",
    "initiator": "STRING",
    "initiatorId": "STRING",
}
SCHEMA_NAME = {"vendor": "STRING", "name": "STRING", "format": "STRING", "version": "STRING"}
SCHEMA_VERSION = {**SCHEMA_NAME, "schema": "JSON", "fieldCount": "LONG", "fieldsLeftOut": "LONG"}
SCHEMA_FIELD = {
    **SCHEMA_NAME,
    "path": "STRING",
    "type": "STRING",
    "itemType": "STRING",
    "description": "STRING",
    "isRequired": "BOOLEAN",
}
EVENT_SPECIFICATION = {
    "id": "STRING",
    "dataProductId": "STRING",
    "version": "LONG",
    "name": "STRING",
    "description": "STRING",
    "status": "STRING",
    "event": "JSON",
    "entities": "JSON",
    "triggers": "JSON",
    "author": "STRING",
    "message": "STRING",
    "date": "UTC_DATETIME",
    "createdAt": "UTC_DATETIME",
    "updatedAt": "UTC_DATETIME",
}
TRACKING_PLAN = {
    "id": "STRING",
    "organizationId": "STRING",
    "name": "STRING",
    "description": "STRING",
    "domain": "STRING",
    "owner": "STRING",
    "status": "STRING",
    "type": "STRING",
    "lockStatus": "STRING",
    "eventSpecs": "JSON",
    "sourceApplications": "JSON",
    "createdAt": "UTC_DATETIME",
    "updatedAt": "UTC_DATETIME",
}
TRACKING_PLAN_EVENT_SPEC = {"trackingPlanId": "STRING", "id": "STRING", "url": "STRING"}
TRACKING_PLAN_SOURCE_APP = {"trackingPlanId": "STRING", "id": "STRING"}
DATA_MODEL = {
    "id": "STRING",
    "organizationId": "STRING",
    "dataProductId": "STRING",
    "name": "STRING",
    "owner": "STRING",
    "description": "STRING",
    "destination": "STRING",
    "queryEngine": "STRING",
    "tableName": "STRING",
    "modelType": "STRING",
    "createdAt": "UTC_DATETIME",
    "updatedAt": "UTC_DATETIME",
}
SOURCE_APP = {
    "id": "STRING",
    "name": "STRING",
    "description": "STRING",
    "owner": "STRING",
    "appIds": "JSON",
    "entities": "JSON",
}
USER = {
    "id": "STRING",
    "email": "STRING",
    "name": "STRING",
    "displayName": "STRING",
    "role": "STRING",
    "filters": "JSON",
    "firstName": "STRING",
    "lastName": "STRING",
    "jobTitle": "STRING",
    "lastLogin": "UTC_DATETIME",
    "permissions": "JSON",
    "organizationId": "STRING",
}
PIPELINE = {
    "id": "STRING",
    "name": "STRING",
    "status": "STRING",
    "label": "STRING",
    "workspaceId": "STRING",
    "k8sNamespaceId": "STRING",
    "k8sClusterId": "STRING",
    "cloudSetupId": "STRING",
    "config": "JSON",
}
ENRICHMENT = {
    "pipelineId": "STRING",
    "name": "STRING",
    "enabled": "BOOLEAN",
    "schemaKey": "STRING",
    "userData": "JSON",
}
ENRICHMENT_EDGE = {
    "pipelineId": "STRING",
    "enrichmentName": "STRING",
    "hash": "STRING",
    "vendor": "STRING",
    "name": "STRING",
    "format": "STRING",
}
DESTINATION = {
    "id": "STRING",
    "pipelineId": "STRING",
    "loaderName": "STRING",
    "loaderType": "STRING",
    "destinationType": "STRING",
    "status": "STRING",
    "target": "JSON",
    "createdAt": "UTC_DATETIME",
}
JOB_RUN = {
    "runId": "STRING",
    "jobId": "STRING",
    "jobName": "STRING",
    "environment": "STRING",
    "state": "STRING",
    "startTime": "UTC_DATETIME",
}
JOB_RUN_STEP = {
    "runId": "STRING",
    "name": "STRING",
    "state": "STRING",
    "dependencies": "JSON",
    "duration": "STRING",
}
