//! Cards from registrations, and the registry's changes that a card does not show.

use protocol::{NodeName, Timestamp};
use runtime::config::Settings;
use serde_json::json;

use super::*;
use crate::cards::canonical::readings;

/// `<skill>@<node>` started at that second, with `!` behind the node while it drains.
fn agent(text: &str, started: i64, name: &str) -> Registration {
    let (skill, node) = text.split_once('@').unwrap();
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    Registration {
        skill: Skill::parse(skill).unwrap(),
        node: NodeName::parse(node.trim_end_matches('!')).unwrap(),
        kind: "test".to_owned(),
        card: AgentCard { name: name.to_owned(), ..AgentCard::default() },
        input_schema: None,
        output_schema: None,
        on_message: protocol::card::OnMessage::default(),
        replies: false,
        order: protocol::card::Order::default(),
        cancel_grace_ms: None,
        slots: 4,
        running: 0,
        draining: node.ends_with('!'),
        started_at: at(started),
        seen_at: at(started),
        weft_version: "0.1.0".to_owned(),
    }
}

fn settings(text: &str) -> GatewaySection {
    Settings::parse(text).unwrap().gateway
}

fn card(agents: &[Registration], text: &str, name: Option<&str>) -> AgentCard {
    let settings = settings(text);
    let base = Base::of_settings(&settings, "127.0.0.1:8080");
    let speakers = speakers(agents, name, |_| true);
    compose(&speakers, &settings, Wanted { name, base: &base, prefix: "weft" })
}

#[test]
fn names_mean_a_skill_or_else_the_agents_with_that_name() {
    let agents = [
        agent("write@n1", 1, "Author"),
        agent("edit@n1", 1, "Author"),
        agent("edit@n2", 3, "Author"),
        agent("edit@n3!", 9, "Author"),
        agent("Author2@n1", 2, "write"),
    ];
    type Speakers = &'static [(&'static str, &'static str)];
    let table: [(Option<&str>, Speakers); 5] = [
        (None, &[("Author2", "n1"), ("edit", "n2"), ("write", "n1")]),
        (Some("Author"), &[("edit", "n2"), ("write", "n1")]),
        (Some("write"), &[("write", "n1")]),
        (Some("author"), &[]),
        (Some("edit"), &[("edit", "n2")]),
    ];
    for (name, expected) in table {
        let found: Vec<_> = speakers(&agents, name, |_| true)
            .iter()
            .map(|one| (one.skill.as_str(), one.node.as_str()))
            .collect();
        assert_eq!(found, expected, "{name:?}");
    }
    let allowed = speakers(&agents, None, |skill| skill.as_str() == "write");
    assert_eq!(allowed.len(), 1);
}

#[test]
fn a_skill_stays_while_its_last_node_drains() {
    let agents = [agent("write@n1!", 1, "Author")];
    assert_eq!(card(&agents, "", None).skills.len(), 1);
    assert!(card(&[], "", None).skills.is_empty());
}

#[test]
fn interfaces_stand_in_the_order_of_preference() {
    let agents = [agent("write@n1", 1, "The author"), agent("edit@n1", 1, "The author")];
    let shown = |name| -> Vec<(String, String, Option<String>)> {
        let text = "[gateway]\nurl = \"https://mesh.example/a2a/\"";
        let all = card(&agents, text, name).supported_interfaces;
        all.into_iter().map(|one| (one.protocol_binding, one.url, one.tenant)).collect()
    };
    let row = |binding: &str, url: &str, tenant: Option<&str>| {
        (binding.to_owned(), url.to_owned(), tenant.map(str::to_owned))
    };
    assert_eq!(
        shown(None),
        [
            row("JSONRPC", "https://mesh.example/a2a", None),
            row("HTTP+JSON", "https://mesh.example/a2a", None),
            row("GRPC", "mesh.example:443", None),
            row(NATS_BINDING, "nats:weft.task.*", None),
        ]
    );
    assert_eq!(
        shown(Some("The author")),
        [
            row("JSONRPC", "https://mesh.example/a2a/agents/The%20author", None),
            row("HTTP+JSON", "https://mesh.example/a2a/agents/The%20author", None),
            row("GRPC", "mesh.example:443", Some("~The author")),
            row(NATS_BINDING, "nats:weft.task.edit", None),
            row(NATS_BINDING, "nats:weft.task.write", None),
        ]
    );
}

#[test]
fn agents_that_say_nothing_still_have_full_cards() {
    let agents = [agent("write@n1", 1, "")];
    for name in [None, Some("write")] {
        let card = card(&agents, "", name);
        let skill = &card.skills[0];
        assert_eq!(skill.tags, ["write"]);
        assert_eq!(skill.input_modes, ["application/json", "text/plain"]);
        let document = serde_json::to_value(&card).unwrap();
        assert_eq!(readings(&document).len(), 1, "{document}");
        for field in ["name", "description", "version"] {
            assert!(!document[field].as_str().unwrap().is_empty(), "{field}");
        }
    }
}

#[test]
fn security_is_what_the_doors_ask_for() {
    const KEY: &str = "[[gateway.keys]]\nname = \"ci\"\nowner = \"acme\"\n\
        sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";
    const JWT: &str = "[gateway.jwt]\nissuer = \"https://login.example\"\naudience = [\"weft\"]\nrole = \"caller\"\n";
    let table = [
        (KEY.to_owned(), json!({"apiKey": "X-API-Key"}), 1),
        (format!("[gateway]\nopen = true\n{KEY}"), json!({"apiKey": "X-API-Key"}), 0),
        (
            format!("{KEY}{JWT}"),
            json!({"apiKey": "X-API-Key", "bearer": "JWT",
                "openIdConnect": "https://login.example/.well-known/openid-configuration"}),
            3,
        ),
    ];
    for (text, expected, required) in table {
        let card = serde_json::to_value(card(&[], &text, None)).unwrap();
        let schemes = card["securitySchemes"].as_object().unwrap();
        let said: serde_json::Map<_, _> = schemes
            .iter()
            .map(|(name, scheme)| {
                let scheme = scheme.as_object().unwrap().values().next().unwrap();
                let fact = ["name", "bearerFormat", "openIdConnectUrl"]
                    .iter()
                    .find_map(|key| scheme.get(*key));
                (name.clone(), fact.cloned().unwrap_or_default())
            })
            .collect();
        assert_eq!(serde_json::Value::Object(said), expected);
        let requirements =
            card.get("securityRequirements").map_or(0, |all| all.as_array().unwrap().len());
        assert_eq!(requirements, required, "{card}");
    }
}
