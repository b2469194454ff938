//! The router's table, a row for each address.

use super::*;
use crate::doors::rows::Endpoint as E;

fn at(method: &str, path: &str) -> Route {
    route(&method.parse().unwrap(), path)
}

#[test]
fn finds_every_address_with_and_without_a_slash_at_the_end() {
    let table: &[(&str, &str, E, &[&str])] = &[
        ("POST", "/", E::JsonRpc, &[]),
        ("POST", "/lf.a2a.v1.A2AService/SendMessage", E::Grpc, &["SendMessage"]),
        ("POST", "/message:send", E::SendMessage, &[]),
        ("POST", "/message%3Asend", E::SendMessage, &[]),
        ("POST", "/message:stream", E::SendStreamingMessage, &[]),
        ("GET", "/tasks", E::ListTasks, &[]),
        ("HEAD", "/tasks", E::ListTasks, &[]),
        ("GET", "/tasks/s7", E::GetTask, &["s7"]),
        ("GET", "/tasks/%73%37", E::GetTask, &["s7"]),
        ("GET", "/tasks/a%2Fb", E::GetTask, &["a/b"]),
        ("GET", "/tasks/%E2%82%AC", E::GetTask, &["€"]),
        ("POST", "/tasks/s7:cancel", E::CancelTask, &["s7"]),
        ("POST", "/tasks/s7%3Acancel", E::CancelTask, &["s7"]),
        ("GET", "/tasks/s7:subscribe", E::SubscribeToTask, &["s7"]),
        ("POST", "/tasks/s7:subscribe", E::SubscribeToTask, &["s7"]),
        ("POST", "/tasks/s7/pushNotificationConfigs", E::CreatePushConfig, &["s7"]),
        ("GET", "/tasks/s7/pushNotificationConfigs", E::ListPushConfigs, &["s7"]),
        ("GET", "/tasks/s7/pushNotificationConfigs/p", E::GetPushConfig, &["s7", "p"]),
        ("DELETE", "/tasks/s7/pushNotificationConfigs/p", E::DeletePushConfig, &["s7", "p"]),
        ("GET", "/extendedAgentCard", E::ExtendedCard, &[]),
        ("GET", "/.well-known/agent-card.json", E::PublicCard, &[]),
        ("GET", "/.well-known/jwks.json", E::KeySet, &[]),
        ("GET", "/files/acme/s7/part", E::File, &["acme/s7/part"]),
        ("POST", "/files", E::BringFile, &[]),
        ("GET", "/v1/tasks/s7/push", E::PlainPush, &["s7"]),
        ("GET", "/openapi.json", E::Description, &[]),
        ("GET", "/v1/tasks", E::PlainTasks, &[]),
        ("POST", "/v1/tasks/echo", E::PlainSubmit, &["echo"]),
        ("GET", "/v1/tasks/s7", E::PlainTask, &["s7"]),
        ("POST", "/v1/tasks/s7:cancel", E::PlainCancel, &["s7"]),
        ("POST", "/v1/tasks/s7/messages", E::PlainSay, &["s7"]),
        ("POST", "/v1/tasks/s7/signals/paid", E::PlainSignal, &["s7", "paid"]),
        ("POST", "/v1/tasks/s7/decision", E::PlainDecide, &["s7"]),
        ("GET", "/v1/tasks/s7/events", E::PlainEvents, &["s7"]),
        ("GET", "/v1/tasks/s7/tree", E::PlainTree, &["s7"]),
        ("GET", "/v1/approvals", E::PlainApprovals, &[]),
        ("GET", "/v1/agents", E::PlainAgents, &[]),
    ];
    for (method, path, endpoint, values) in table {
        for path in [(*path).to_owned(), format!("{}/", path.trim_end_matches('/'))] {
            let route = at(method, &path);
            assert_eq!(route.found, Found::Endpoint(*endpoint), "{method} {path}");
            assert_eq!(route.values, *values, "{method} {path}");
            assert_eq!((route.agent, route.tenant), (None, None), "{method} {path}");
        }
    }
    for row in &ROWS {
        let tried = table
            .iter()
            .any(|(method, _, endpoint, _)| *endpoint == row.endpoint && *method == row.method);
        assert!(tried, "{} {} is in no row of this table", row.method, row.path);
    }
}

#[test]
fn finds_agents_and_tenants_in_front() {
    let table = [
        ("POST", "/agents/echo", E::JsonRpc, Some("echo"), None),
        ("POST", "/agents/echo/", E::JsonRpc, Some("echo"), None),
        ("POST", "/agents/echo/message:send", E::SendMessage, Some("echo"), None),
        ("GET", "/agents/v1/tasks/s7", E::GetTask, Some("v1"), None),
        ("GET", "/agents/echo/tasks", E::ListTasks, Some("echo"), None),
        ("GET", "/agents/echo/acme/tasks", E::ListTasks, Some("echo"), Some("acme")),
        ("GET", "/agents/a%20b/tasks", E::ListTasks, Some("a b"), None),
        ("GET", "/agents/echo/.well-known/agent-card.json", E::PublicCard, Some("echo"), None),
        ("GET", "/acme/tasks", E::ListTasks, None, Some("acme")),
        ("GET", "/acme~echo/tasks", E::ListTasks, None, Some("acme~echo")),
        ("GET", "/~echo/tasks/s7", E::GetTask, None, Some("~echo")),
        ("POST", "/acme/tasks/s7:cancel", E::CancelTask, None, Some("acme")),
        ("GET", "/acme/extendedAgentCard/", E::ExtendedCard, None, Some("acme")),
    ];
    for (method, path, endpoint, agent, tenant) in table {
        let route = at(method, path);
        assert_eq!(route.found, Found::Endpoint(endpoint), "{method} {path}");
        assert_eq!((route.agent.as_deref(), route.tenant.as_deref()), (agent, tenant), "{path}");
    }
}

#[test]
fn says_whose_error_it_is_when_nothing_is_there() {
    let nothing: &[(&str, &str, Door)] = &[
        ("GET", "/nowhere", Door::Rest),
        ("GET", "//tasks", Door::Rest),
        ("GET", "/tasks//", Door::Rest),
        ("GET", "/tasks/%", Door::Rest),
        ("GET", "/tasks/%ZZ", Door::Rest),
        ("GET", "/tasks/%FF", Door::Rest),
        ("GET", "/metrics/tasks", Door::Rest),
        ("GET", "/v1/nowhere", Door::Plain),
        ("GET", "/v1/message:send", Door::Plain),
        ("POST", "/lf.a2a.v1.Other/X", Door::Grpc),
        ("GET", "/acme/.well-known/agent-card.json", Door::Rest),
        ("GET", "*", Door::Rest),
        ("GET", "", Door::Rest),
    ];
    for (method, path, door) in nothing {
        let route = at(method, path);
        assert_eq!((route.found, route.door), (Found::Nothing, *door), "{method} {path}");
    }
    let methods: &[(&str, &str, Door, &[&str])] = &[
        ("GET", "/", Door::JsonRpc, &["POST"]),
        ("PUT", "/agents/echo", Door::JsonRpc, &["POST"]),
        ("GET", "/message:send", Door::Rest, &["POST"]),
        ("GET", "/tasks/s7:cancel", Door::Rest, &["POST"]),
        ("PUT", "/tasks/s7:subscribe", Door::Rest, &["GET", "POST"]),
        ("HEAD", "/tasks/s7:subscribe", Door::Rest, &["GET", "POST"]),
        ("DELETE", "/acme/tasks/s7", Door::Rest, &["GET"]),
        ("PUT", "/v1/tasks/s7", Door::Plain, &["GET", "POST"]),
        ("POST", "/openapi.json", Door::Description, &["GET"]),
        ("POST", "/.well-known/agent-card.json", Door::Card, &["GET"]),
    ];
    for (method, path, door, allowed) in methods {
        let route = at(method, path);
        assert_eq!(route.found, Found::OtherMethods(allowed.to_vec()), "{method} {path}");
        assert_eq!(route.door, *door, "{method} {path}");
    }
}

#[test]
fn no_first_segment_of_a_row_can_be_a_tenant() {
    for row in &ROWS {
        let first = row.path.split('/').nth(1).unwrap_or_default();
        assert!(
            first.is_empty() || is_grpc(first) || RESERVED.contains(&first),
            "{first} has to be reserved"
        );
    }
}
