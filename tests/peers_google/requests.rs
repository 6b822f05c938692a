//! What is asked, and what must come of it.

use serde_json::Value;

/// A request, the rule that takes it and the message it becomes.
pub struct Request {
    pub method: &'static str,
    pub url: &'static str,
    /// JSON; empty for none.
    body: &'static str,
    /// `package.Service/Method`
    pub target: &'static str,
    pub rule: &'static str,
    /// JSON of the message.
    sent: &'static str,
}

/// What is compared of an answer.
#[derive(Debug, PartialEq)]
pub struct Expected<'a> {
    pub target: &'a str,
    pub rule: &'a str,
    pub sent: &'a Value,
}

impl Request {
    pub fn body(&self) -> Option<Value> {
        (!self.body.is_empty()).then(|| serde_json::from_str(self.body).expect("JSON"))
    }

    pub fn sent(&self) -> Value {
        serde_json::from_str(self.sent).expect("JSON")
    }
}

/// Request line, body, method, rule, message.
const fn of(
    (method, url): (&'static str, &'static str),
    body: &'static str,
    target: &'static str,
    rule: &'static str,
    sent: &'static str,
) -> Request {
    Request {
        method,
        url,
        body,
        target,
        rule,
        sent,
    }
}

#[rustfmt::skip] // A table: one request, one block.
pub const REQUESTS: &[Request] = &[
    // Names of several segments.
    of(("GET", "/v1/projects/p/topics/t"), "",
       "google.pubsub.v1.Publisher/GetTopic", "GET /v1/{topic=projects/*/topics/*}",
       r#"{"topic": "projects/p/topics/t"}"#),
    of(("PUT", "/v1/projects/p/topics/t"), r#"{"labels": {"a": "b"}}"#,
       "google.pubsub.v1.Publisher/CreateTopic", "PUT /v1/{name=projects/*/topics/*}",
       r#"{"name": "projects/p/topics/t", "labels": {"a": "b"}}"#),
    of(("GET", "/v1/projects/p/topics/t/subscriptions?page_token=x"), "",
       "google.pubsub.v1.Publisher/ListTopicSubscriptions", "GET /v1/{topic=projects/*/topics/*}/subscriptions",
       r#"{"topic": "projects/p/topics/t", "pageToken": "x"}"#),
    of(("GET", "/v1/projects/p/topics?pageSize=5"), "",
       "google.pubsub.v1.Publisher/ListTopics", "GET /v1/{project=projects/*}/topics",
       r#"{"project": "projects/p", "pageSize": 5}"#),
    // An escaped slash stays escaped in a name of several segments; other escapes don't.
    of(("DELETE", "/v2/projects/p/logs/cloud%2Faudit%20log"), "",
       "google.logging.v2.LoggingServiceV2/DeleteLog", "DELETE /v2/{log_name=projects/*/logs/*}",
       r#"{"logName": "projects/p/logs/cloud%2Faudit log"}"#),
    // `**`
    of(("POST", "/v1/projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1:encrypt"),
       r#"{"plaintext": "aGk=", "plaintextCrc32c": "42"}"#,
       "google.cloud.kms.v1.KeyManagementService/Encrypt",
       "POST /v1/{name=projects/*/locations/*/keyRings/*/cryptoKeys/**}:encrypt",
       r#"{"name": "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "plaintext": "aGk=", "plaintextCrc32c": "42"}"#),
    of(("DELETE", "/v1/projects/p/databases/d/documents/c/x/deep/er"), "",
       "google.firestore.v1.Firestore/DeleteDocument", "DELETE /v1/{name=projects/*/databases/*/documents/*/**}",
       r#"{"name": "projects/p/databases/d/documents/c/x/deep/er"}"#),
    // `**` before the end.
    of(("POST", "/v1/projects/p/databases/d/documents/c?documentId=x"), r#"{"fields": {"a": {"integerValue": "1"}}}"#,
       "google.firestore.v1.Firestore/CreateDocument", "POST /v1/{parent=projects/*/databases/*/documents/**}/{collection_id}",
       r#"{"parent": "projects/p/databases/d/documents", "collectionId": "c", "documentId": "x", "document": {"fields": {"a": {"integerValue": "1"}}}}"#),
    of(("POST", "/v1/projects/p/databases/d/documents/c/x/rooms"), "{}",
       "google.firestore.v1.Firestore/CreateDocument", "POST /v1/{parent=projects/*/databases/*/documents/**}/{collection_id}",
       r#"{"parent": "projects/p/databases/d/documents/c/x", "collectionId": "rooms", "document": {}}"#),
    of(("GET", "/v1/projects/p/locations/l/keyRings/r/cryptoKeys/k/protectedResourcesSummary"), "",
       "google.cloud.kms.inventory.v1.KeyTrackingService/GetProtectedResourcesSummary",
       "GET /v1/{name=projects/*/locations/*/keyRings/*/cryptoKeys/**}/protectedResourcesSummary",
       r#"{"name": "projects/p/locations/l/keyRings/r/cryptoKeys/k"}"#),
    // Verbs.
    of(("POST", "/v1/projects/p/topics/t:publish"),
       r#"{"messages": [{"data": "aGk=", "attributes": {"k": "v"}}, {"orderingKey": "o"}]}"#,
       "google.pubsub.v1.Publisher/Publish", "POST /v1/{topic=projects/*/topics/*}:publish",
       r#"{"topic": "projects/p/topics/t", "messages": [{"data": "aGk=", "attributes": {"k": "v"}}, {"orderingKey": "o"}]}"#),
    of(("POST", "/v1/projects/p/subscriptions/s:pull"), r#"{"maxMessages": 3}"#,
       "google.pubsub.v1.Subscriber/Pull", "POST /v1/{subscription=projects/*/subscriptions/*}:pull",
       r#"{"subscription": "projects/p/subscriptions/s", "maxMessages": 3}"#),
    of(("POST", "/v1/projects/p/subscriptions/s:seek"), r#"{"time": "2024-01-02T03:04:05.500Z"}"#,
       "google.pubsub.v1.Subscriber/Seek", "POST /v1/{subscription=projects/*/subscriptions/*}:seek",
       r#"{"subscription": "projects/p/subscriptions/s", "time": "2024-01-02T03:04:05.500Z"}"#),
    of(("POST", "/v2/projects/p/locations/l/queues/q:pause"), "{}",
       "google.cloud.tasks.v2.CloudTasks/PauseQueue", "POST /v2/{name=projects/*/locations/*/queues/*}:pause",
       r#"{"name": "projects/p/locations/l/queues/q"}"#),
    of(("POST", "/v1/documents:analyzeSentiment"),
       r#"{"document": {"type": "PLAIN_TEXT", "content": "good"}, "encodingType": "UTF8"}"#,
       "google.cloud.language.v1.LanguageService/AnalyzeSentiment", "POST /v1/documents:analyzeSentiment",
       r#"{"document": {"type": "PLAIN_TEXT", "content": "good"}, "encodingType": "UTF8"}"#),
    of(("POST", "/v2/entries:list"), r#"{"resourceNames": ["projects/p"], "orderBy": "timestamp desc"}"#,
       "google.logging.v2.LoggingServiceV2/ListLogEntries", "POST /v2/entries:list",
       r#"{"resourceNames": ["projects/p"], "orderBy": "timestamp desc"}"#),
    // Additional bindings.
    of(("DELETE", "/v2/organizations/o/logs/syslog"), "",
       "google.logging.v2.LoggingServiceV2/DeleteLog", "DELETE /v2/{log_name=organizations/*/logs/*}",
       r#"{"logName": "organizations/o/logs/syslog"}"#),
    of(("GET", "/v2/folders/f/locations/l/buckets/b"), "",
       "google.logging.v2.ConfigServiceV2/GetBucket", "GET /v2/{name=folders/*/locations/*/buckets/*}",
       r#"{"name": "folders/f/locations/l/buckets/b"}"#),
    of(("GET", "/v1/projects/p/locations/l/secrets/s/versions/1:access"), "",
       "google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion",
       "GET /v1/{name=projects/*/locations/*/secrets/*/versions/*}:access",
       r#"{"name": "projects/p/locations/l/secrets/s/versions/1"}"#),
    of(("POST", "/v1/projects/p/instances/i/backups/b:getIamPolicy"), r#"{"options": {"requestedPolicyVersion": 3}}"#,
       "google.spanner.admin.database.v1.DatabaseAdmin/GetIamPolicy",
       "POST /v1/{resource=projects/*/instances/*/backups/*}:getIamPolicy",
       r#"{"resource": "projects/p/instances/i/backups/b", "options": {"requestedPolicyVersion": 3}}"#),
    // Bodies that are a field, with the rest in path and query.
    of(("POST", "/v1/projects/p/instances/i/backups?backupId=b&encryptionConfig.encryptionType=GOOGLE_DEFAULT_ENCRYPTION"),
       r#"{"database": "projects/p/instances/i/databases/d", "expireTime": "2030-01-01T00:00:00Z"}"#,
       "google.spanner.admin.database.v1.DatabaseAdmin/CreateBackup", "POST /v1/{parent=projects/*/instances/*}/backups",
       r#"{"parent": "projects/p/instances/i", "backupId": "b", "backup": {"database": "projects/p/instances/i/databases/d", "expireTime": "2030-01-01T00:00:00Z"}, "encryptionConfig": {"encryptionType": "GOOGLE_DEFAULT_ENCRYPTION"}}"#),
    of(("POST", "/v1/projects/p/locations/l/keyRings/r/cryptoKeys?cryptoKeyId=k&skipInitialVersionCreation=true"),
       r#"{"purpose": "ENCRYPT_DECRYPT", "labels": {"a": "b"}, "rotationPeriod": "86400s"}"#,
       "google.cloud.kms.v1.KeyManagementService/CreateCryptoKey", "POST /v1/{parent=projects/*/locations/*/keyRings/*}/cryptoKeys",
       r#"{"parent": "projects/p/locations/l/keyRings/r", "cryptoKeyId": "k", "skipInitialVersionCreation": true, "cryptoKey": {"purpose": "ENCRYPT_DECRYPT", "labels": {"a": "b"}, "rotationPeriod": "86400s"}}"#),
    of(("POST", "/v1/projects/p/secrets?secretId=x"), r#"{"replication": {"automatic": {}}}"#,
       "google.cloud.secretmanager.v1.SecretManagerService/CreateSecret", "POST /v1/{parent=projects/*}/secrets",
       r#"{"parent": "projects/p", "secretId": "x", "secret": {"replication": {"automatic": {}}}}"#),
    of(("POST", "/v2/projects/p/locations/l/queues/q/tasks"),
       r#"{"task": {"scheduleTime": "2024-05-06T07:08:09Z", "httpRequest": {"url": "https://example.com", "httpMethod": "PUT"}}}"#,
       "google.cloud.tasks.v2.CloudTasks/CreateTask", "POST /v2/{parent=projects/*/locations/*/queues/*}/tasks",
       r#"{"parent": "projects/p/locations/l/queues/q", "task": {"scheduleTime": "2024-05-06T07:08:09Z", "httpRequest": {"url": "https://example.com", "httpMethod": "PUT"}}}"#),
    of(("POST", "/compute/v1/projects/p/zones/z/instances/i/setLabels?requestId=r"),
       r#"{"labelFingerprint": "abc", "labels": {"a": "b"}}"#,
       "google.cloud.compute.v1.Instances/SetLabels",
       "POST /compute/v1/projects/{project}/zones/{zone}/instances/{instance}/setLabels",
       r#"{"project": "p", "zone": "z", "instance": "i", "requestId": "r", "instancesSetLabelsRequestResource": {"labelFingerprint": "abc", "labels": {"a": "b"}}}"#),
    // PATCH: a name inside the body's field, and a mask in the query.
    of(("PATCH", "/v1/projects/p/instances/i/databases/d?updateMask=enableDropProtection"), r#"{"enableDropProtection": true}"#,
       "google.spanner.admin.database.v1.DatabaseAdmin/UpdateDatabase", "PATCH /v1/{database.name=projects/*/instances/*/databases/*}",
       r#"{"database": {"name": "projects/p/instances/i/databases/d", "enableDropProtection": true}, "updateMask": "enableDropProtection"}"#),
    of(("PATCH", "/v2/projects/p/locations/l/queues/q?updateMask=rateLimits.maxDispatchesPerSecond,state"),
       r#"{"rateLimits": {"maxDispatchesPerSecond": 1.5}}"#,
       "google.cloud.tasks.v2.CloudTasks/UpdateQueue", "PATCH /v2/{queue.name=projects/*/locations/*/queues/*}",
       r#"{"queue": {"name": "projects/p/locations/l/queues/q", "rateLimits": {"maxDispatchesPerSecond": 1.5}}, "updateMask": "rateLimits.maxDispatchesPerSecond,state"}"#),
    of(("PATCH", "/v2/projects/p/locations/l/buckets/b?update_mask=retention_days"), r#"{"retentionDays": 30}"#,
       "google.logging.v2.ConfigServiceV2/UpdateBucket", "PATCH /v2/{name=projects/*/locations/*/buckets/*}",
       r#"{"name": "projects/p/locations/l/buckets/b", "bucket": {"retentionDays": 30}, "updateMask": "retentionDays"}"#),
    of(("PATCH", "/v1/projects/p/topics/t"), r#"{"topic": {"labels": {"a": "b"}}, "updateMask": "labels"}"#,
       "google.pubsub.v1.Publisher/UpdateTopic", "PATCH /v1/{topic.name=projects/*/topics/*}",
       r#"{"topic": {"name": "projects/p/topics/t", "labels": {"a": "b"}}, "updateMask": "labels"}"#),
    of(("PATCH", "/v1/projects/p/instances/i/databases/d/ddl"), r#"{"statements": ["DROP TABLE x"]}"#,
       "google.spanner.admin.database.v1.DatabaseAdmin/UpdateDatabaseDdl", "PATCH /v1/{database=projects/*/instances/*/databases/*}/ddl",
       r#"{"database": "projects/p/instances/i/databases/d", "statements": ["DROP TABLE x"]}"#),
    // Queries: enums by name and number, repeated, nested, timestamps, booleans, escapes.
    of(("GET", "/v1/projects/p/schemas?view=FULL"), "",
       "google.pubsub.v1.SchemaService/ListSchemas", "GET /v1/{parent=projects/*}/schemas",
       r#"{"parent": "projects/p", "view": "FULL"}"#),
    of(("GET", "/v1/projects/p/schemas/s?view=1"), "",
       "google.pubsub.v1.SchemaService/GetSchema", "GET /v1/{name=projects/*/schemas/*}",
       r#"{"name": "projects/p/schemas/s", "view": "BASIC"}"#),
    of(("GET", "/v2/projects/p/logs?resourceNames=projects%2Fp&resourceNames=folders%2Ff"), "",
       "google.logging.v2.LoggingServiceV2/ListLogs", "GET /v2/{parent=projects/*}/logs",
       r#"{"parent": "projects/p", "resourceNames": ["projects/p", "folders/f"]}"#),
    of(("GET", "/v1/projects/p/databases/d/documents/c/x?readTime=2024-01-02T03:04:05Z&mask.fieldPaths=a&mask.fieldPaths=b"), "",
       "google.firestore.v1.Firestore/GetDocument", "GET /v1/{name=projects/*/databases/*/documents/*/**}",
       r#"{"name": "projects/p/databases/d/documents/c/x", "mask": {"fieldPaths": ["a", "b"]}, "readTime": "2024-01-02T03:04:05Z"}"#),
    of(("GET", "/compute/v1/projects/p/zones/z/instances?filter=name%20eq%20a.%2A&maxResults=10&returnPartialSuccess=true"), "",
       "google.cloud.compute.v1.Instances/List", "GET /compute/v1/projects/{project}/zones/{zone}/instances",
       r#"{"project": "p", "zone": "z", "filter": "name eq a.*", "maxResults": 10, "returnPartialSuccess": true}"#),
    // Server streaming.
    of(("POST", "/v2/projects/p/instances/i/tables/t:readRows"), r#"{"rowsLimit": "5", "rows": {"rowKeys": ["aGk="]}}"#,
       "google.bigtable.v2.Bigtable/ReadRows", "POST /v2/{table_name=projects/*/instances/*/tables/*}:readRows",
       r#"{"tableName": "projects/p/instances/i/tables/t", "rowsLimit": "5", "rows": {"rowKeys": ["aGk="]}}"#),
    // Its `**` covers something, so it comes before that of GetDocument.
    of(("GET", "/v1/projects/p/databases/d/documents/c/x/rooms?pageSize=2&showMissing=true"), "",
       "google.firestore.v1.Firestore/ListDocuments", "GET /v1/{parent=projects/*/databases/*/documents/*/**}/{collection_id}",
       r#"{"parent": "projects/p/databases/d/documents/c/x", "collectionId": "rooms", "pageSize": 2, "showMissing": true}"#),
];

/// Method, URL, the rule that wins (empty: none), one that lost, a part of why.
type Near = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip] // A table.
pub const NEAR: &[Near] = &[
    ("GET", "/v1/projects/p/topics/t:publish", "GET /v1/{topic=projects/*/topics/*}",
     "POST /v1/{topic=projects/*/topics/*}:publish", "takes POST alone"),
    ("POST", "/v1/projects/p/topics/t:publsh", "",
     "POST /v1/{topic=projects/*/topics/*}:publish", "it has the verb `:publish`, the path has `:publsh`"),
    ("GET", "/v1/projects/p/topics/t/subscription", "",
     "GET /v1/{topic=projects/*/topics/*}/subscriptions", "segment 6 is \"subscription\", not \"subscriptions\""),
    ("GET", "/v1/projects/p/databases/d/documents/c", "GET /v1/{parent=projects/*/databases/*/documents}/{collection_id}",
     "GET /v1/{name=projects/*/databases/*/documents/*/**}", "more specific"),
    ("PATCH", "/v1/projects/p/instances/i/databases/d", "PATCH /v1/{database.name=projects/*/instances/*/databases/*}",
     "GET /v1/{name=projects/*/instances/*/databases/*}", "takes GET alone"),
    ("GET", "/v2/projects/p/locations/l/queues", "GET /v2/{parent=projects/*/locations/*}/queues",
     "GET /v2/{name=projects/*/locations/*/queues/*}", "segments"),
];
