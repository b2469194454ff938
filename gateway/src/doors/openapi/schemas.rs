//! The shapes that the `OpenAPI` document refers to: those of A2A, as ProtoJSON has them.

use serde_json::{Value, json};

/// Every schema by its name.
pub(super) fn all() -> Value {
    let mut all = said();
    for further in [tasks(), requests(), around()] {
        if let (Value::Object(all), Value::Object(further)) = (&mut all, further) {
            all.extend(further);
        }
    }
    all
}

fn text() -> Value {
    json!({"type": "string"})
}

fn object() -> Value {
    json!({"type": "object", "additionalProperties": true})
}

fn refer(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn said() -> Value {
    json!({
        "Part": {
            "type": "object",
            "description": "Exactly one of text, raw (base64), url and data.",
            "properties": {"text": text(), "raw": {"type": "string", "contentEncoding": "base64"},
                "url": text(), "data": {}, "mediaType": text(), "filename": text(), "metadata": object()},
            "oneOf": [{"required": ["text"]}, {"required": ["raw"]}, {"required": ["url"]},
                {"required": ["data"]}],
        },
        "Message": {
            "type": "object",
            "required": ["messageId", "role", "parts"],
            "properties": {"messageId": text(), "contextId": text(), "taskId": text(),
                "role": {"enum": ["ROLE_USER", "ROLE_AGENT"]},
                "parts": {"type": "array", "minItems": 1, "items": refer("Part")},
                "metadata": object(), "extensions": list(&text()), "referenceTaskIds": list(&text())},
        },
        "Artifact": {
            "type": "object",
            "required": ["artifactId", "parts"],
            "properties": {"artifactId": text(), "name": text(), "description": text(),
                "parts": list(&refer("Part")), "metadata": object(), "extensions": list(&text())},
        },
    })
}

fn tasks() -> Value {
    let time = json!({"type": "string", "format": "date-time"});
    json!({
        "TaskState": {"enum": ["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING", "TASK_STATE_INPUT_REQUIRED",
            "TASK_STATE_AUTH_REQUIRED", "TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_CANCELED",
            "TASK_STATE_REJECTED"]},
        "TaskStatus": {
            "type": "object",
            "required": ["state"],
            "properties": {"state": refer("TaskState"), "message": refer("Message"), "timestamp": time},
        },
        "Task": {
            "type": "object",
            "required": ["id", "status"],
            "properties": {"id": text(), "contextId": text(), "status": refer("TaskStatus"),
                "artifacts": list(&refer("Artifact")), "history": list(&refer("Message")),
                "metadata": object()},
        },
        "ListTasksResponse": {
            "type": "object",
            "required": ["tasks", "nextPageToken", "pageSize", "totalSize"],
            "properties": {"tasks": list(&refer("Task")), "nextPageToken": text(),
                "pageSize": {"type": "integer"}, "totalSize": {"type": "integer"}},
        },
        "StreamResponse": {
            "type": "object",
            "description": "Exactly one of its members.",
            "properties": {"task": refer("Task"), "message": refer("Message"), "statusUpdate": object(),
                "artifactUpdate": object()},
        },
        "SendMessageResponse": {
            "type": "object",
            "properties": {"task": refer("Task"), "message": refer("Message")},
        },
    })
}

fn requests() -> Value {
    json!({
        "SendMessageRequest": {
            "type": "object",
            "required": ["message"],
            "properties": {"tenant": text(), "message": refer("Message"), "metadata": object(),
                "configuration": {"type": "object", "properties": {
                    "acceptedOutputModes": list(&text()), "historyLength": {"type": "integer"},
                    "returnImmediately": {"type": "boolean"},
                    "taskPushNotificationConfig": refer("TaskPushNotificationConfig")}}},
        },
        "TaskPushNotificationConfig": {
            "type": "object",
            "required": ["url"],
            "properties": {"tenant": text(), "id": text(), "taskId": text(), "url": text(), "token": text(),
                "authentication": {"type": "object", "required": ["scheme"],
                    "properties": {"scheme": text(), "credentials": text()}}},
        },
        "JsonRpcRequest": {
            "type": "object",
            "required": ["jsonrpc", "method"],
            "properties": {"jsonrpc": {"const": "2.0"}, "id": {"type": ["string", "number", "null"]},
                "method": text(), "params": object()},
        },
        "Decision": {
            "type": "object",
            "required": ["verdict"],
            "properties": {"verdict": {"enum": ["approve", "deny", "edit"]}, "comment": text(),
                "action": {"description": "With edit: what may be done instead."},
                "hash": {"type": "string", "description": "The hash that was looked at."}},
        },
    })
}

fn around() -> Value {
    json!({
        "Object": object(),
        "AgentCard": {"type": "object", "description": "An A2A AgentCard.", "required": ["name", "skills"],
            "properties": {"name": text(), "description": text(), "version": text(),
                "skills": list(&object())}},
        "Error": {
            "type": "object",
            "description": "A google.rpc.Status as A2A 1.0 writes it.",
            "required": ["error"],
            "properties": {"error": {"type": "object", "required": ["code", "status", "message", "details"],
                "properties": {"code": {"type": "integer"}, "status": text(), "message": text(),
                    "details": list(&object())}}},
        },
    })
}
