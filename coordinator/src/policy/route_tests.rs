//! A table of who is chosen for what.

use protocol::NodeName;
use protocol::card::{AgentCapabilities, AgentCard, AgentSkill, OnMessage, Order};

use super::*;

/// An agent in a word: `skill@node running/slots tag,tag`, with `!` for draining and `?` for silent.
fn agent(text: &str) -> Registration {
    let mut words = text.split(' ');
    let (skill, node) = words.next().unwrap().split_once('@').unwrap();
    let (draining, silent) = (node.ends_with('!'), node.ends_with('?'));
    let node = node.trim_end_matches(['!', '?']);
    let (running, slots) = words.next().unwrap().split_once('/').unwrap();
    let tags = words.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    let modes = vec!["text/plain".to_owned(), "image/*".to_owned()];
    let seen = if silent { 0 } else { 60_000 };
    Registration {
        skill: Skill::parse(skill).unwrap(),
        node: NodeName::parse(node).unwrap(),
        kind: "test".to_owned(),
        card: AgentCard {
            name: skill.to_owned(),
            description: String::new(),
            supported_interfaces: Vec::new(),
            version: "1".to_owned(),
            capabilities: AgentCapabilities::default(),
            default_input_modes: modes.clone(),
            default_output_modes: modes,
            skills: vec![AgentSkill {
                id: skill.to_owned(),
                name: skill.to_owned(),
                description: String::new(),
                tags,
                examples: Vec::new(),
                input_modes: Vec::new(),
                output_modes: vec!["application/json".to_owned()],
                ..AgentSkill::default()
            }],
            ..AgentCard::default()
        },
        input_schema: None,
        output_schema: None,
        on_message: OnMessage::default(),
        replies: false,
        order: Order::default(),
        cancel_grace_ms: None,
        slots: slots.parse().unwrap(),
        running: running.parse().unwrap(),
        draining,
        started_at: Timestamp::from_millis(0),
        seen_at: Timestamp::from_millis(seen),
        weft_version: "0".to_owned(),
    }
}

fn chosen(need: &Need, agents: &[&str]) -> (String, String) {
    let agents: Vec<_> = agents.iter().map(|text| agent(text)).collect();
    match route(need, &agents, Timestamp::from_millis(61_000)) {
        Resolution::Found { skill, reason } => (skill.to_string(), reason),
        Resolution::Nobody { fault } => (fault.code, fault.message),
    }
}

#[test]
fn cards_health_cost_and_load_decide_in_this_order() {
    let ocr = || Need { tags: vec!["OCR".to_owned()], ..Need::default() };
    let nobody = code::NOBODY_SERVES;
    for (need, agents, expected, why) in [
        (ocr(), vec!["a@n1 0/4 ocr", "b@n1 0/4 asr"], "a", "the only skill with tag \"OCR\""),
        (ocr(), vec!["b@n1 0/4 asr"], nobody, "tag \"OCR\" is missing at b"),
        (ocr(), vec![], nobody, "the registry is empty"),
        (ocr(), vec!["a@n1! 0/4 ocr", "b@n1 4/4 ocr"], "b", "4 of 4 slots busy on 1 node"),
        (ocr(), vec!["a@n1? 0/4 ocr"], nobody, "a would do, but its nodes are draining or silent"),
        (ocr(), vec!["a@n1 3/4 ocr", "b@n1 1/4 ocr"], "b", "next was a: 3 of 4 slots busy"),
        (ocr(), vec!["b@n1 1/4 ocr", "a@n2 1/4 ocr"], "a", "best of 2 skills"),
        (
            ocr(),
            vec!["a@n1 0/4 ocr,cost-micros:9", "b@n1 3/4 ocr,cost-micros:5"],
            "b",
            "cost 5 micros, 3 of 4 slots busy",
        ),
        (ocr(), vec!["a@n1 0/4 ocr", "b@n1 3/4 ocr,cost-micros:5"], "b", "cost 5"),
        (ocr(), vec!["a@n1 4/4 ocr,cost-micros:1", "b@n1 0/4 ocr,cost-micros:5"], "b", "cost 5"),
        (
            ocr(),
            vec!["a@n1 0/4 ocr", "a@n2 4/4 ocr", "b@n1 1/4 ocr"],
            "b",
            "next was a: 4 of 8 slots busy on 2 nodes",
        ),
        (
            Need { avoid: Some(NodeName::parse("n1").unwrap()), ..ocr() },
            vec!["a@n1 0/4 ocr", "b@n2 4/4 ocr"],
            "b",
            "best of 2",
        ),
        (
            Need { avoid: Some(NodeName::parse("n1").unwrap()), ..ocr() },
            vec!["a@n1 0/4 ocr"],
            "a",
            "the only skill",
        ),
        (
            Need { not_skills: vec![Skill::parse("a").unwrap()], ..ocr() },
            vec!["a@n1 0/4 ocr", "b@n2 4/4 ocr"],
            "b",
            "the only skill",
        ),
        (
            Need { cost_micros_max: Some(5), ..ocr() },
            vec!["a@n1 0/4 ocr", "b@n1 0/4 ocr,cost-micros:6"],
            nobody,
            "a cost of at most 5 micros is missing at a, b",
        ),
        (
            Need { input_modes: vec!["image/png".to_owned()], ..ocr() },
            vec!["a@n1 0/4 ocr"],
            "a",
            "input mode \"image/png\"",
        ),
        (
            Need { output_modes: vec!["text/plain".to_owned()], ..ocr() },
            vec!["a@n1 0/4 ocr"],
            nobody,
            "output mode \"text/plain\" is missing at a",
        ),
    ] {
        let (skill, reason) = chosen(&need, &agents);
        assert_eq!(skill, expected, "{agents:?}: {reason}");
        assert!(reason.contains(why), "{agents:?}: {reason}");
    }
}
