//! What was said in a task, in the order in which the log stream has it: its input, questions, and what was said to it.
//!
//! What is said to a task and the entries of its log are stored in one stream, so their sequences order them. An answer
//! stands where it was stored, which may be before its question: it came early.

use std::collections::BTreeMap;

use crate::entry::Event;
use crate::message::{Message, Role};
use crate::view;
use crate::wait::Answer;

/// The turns of a task after its input, by their place in the log stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    turns: BTreeMap<u64, (u64, Message)>,
}

impl History {
    /// Takes in an entry of the log: a question, or a message that the entry uses up.
    pub fn note(&mut self, sequence: u64, generation: u64, event: &Event) {
        if let Event::Suspended { waiting_for, .. } = event
            && let Some(question) = view::question(waiting_for, 0)
        {
            self.turns.insert(sequence, (generation, question));
        }
        if let Event::Resumed { answer: Some(Answer::Message { sequence, message }), .. }
        | Event::Received { answer: Answer::Message { sequence, message }, .. } = event
        {
            self.say(*sequence, message.clone());
        }
    }

    /// Takes in what was said to the task; a second time changes nothing.
    pub fn say(&mut self, sequence: u64, message: Message) {
        self.turns.entry(sequence).or_insert((sequence, message));
    }

    /// What was said to the task under a message id, with its place in the stream.
    #[must_use]
    pub fn said_as(&self, message_id: &str) -> Option<(u64, &Message)> {
        let mut turns = self.turns.iter();
        turns.find_map(|(sequence, (_, message))| {
            let is = message.role == Role::User && message.message_id == message_id;
            is.then_some((*sequence, message))
        })
    }

    /// What was said, oldest first: all of it, or the latest so many messages.
    #[must_use]
    pub fn messages(
        &self,
        task: &str,
        context: &str,
        input: Option<&Message>,
        latest: Option<usize>,
    ) -> Vec<Message> {
        let all = usize::from(input.is_some()) + self.turns.len();
        let left_out = all.saturating_sub(latest.unwrap_or(all));
        let input = input.map(|message| (&0, message));
        let turns = self.turns.values().map(|(generation, message)| (generation, message));
        let kept = input.into_iter().chain(turns).skip(left_out);
        kept.map(|(at, message)| view::addressed(message.clone(), task, context, *at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Part;
    use crate::wait::WaitingFor;

    fn asks(question: &str) -> Event {
        let question = Message::from_agent(question);
        let waiting_for = WaitingFor::Input { name: "q".to_owned(), question, auth: false };
        Event::Suspended { waiting_for, until: None }
    }

    fn user(text: &str) -> Message {
        Message::from_user(vec![Part::text(text)])
    }

    fn resumed(sequence: u64, text: &str) -> Event {
        let answer = Some(Answer::Message { sequence, message: user(text) });
        Event::Resumed { reason: String::new(), answer }
    }

    #[test]
    fn turns_stand_in_the_order_of_the_stream_and_the_latest_are_kept() {
        let mut history = History::default();
        history.say(25, user("early"));
        for (sequence, event) in [
            (10, asks("one?")),
            (21, resumed(20, "1")),
            (30, asks("two?")),
            (33, resumed(25, "early")),
        ] {
            history.note(sequence, sequence, &event);
        }
        history.say(20, user("said twice"));
        let input = user("go");
        for (latest, expected) in [
            (None, vec!["go", "one?", "1", "early", "two?"]),
            (Some(9), vec!["go", "one?", "1", "early", "two?"]),
            (Some(2), vec!["early", "two?"]),
            (Some(0), vec![]),
        ] {
            let messages = history.messages("s1", "c", Some(&input), latest);
            let said: Vec<_> = messages.iter().map(|one| one.parts.clone()).collect();
            let expected: Vec<_> = expected.iter().map(|text| vec![Part::text(*text)]).collect();
            assert_eq!(said, expected, "{latest:?}");
            assert!(messages.iter().all(|one| one.task_id.as_deref() == Some("s1")));
            assert!(messages.iter().all(|one| !one.message_id.is_empty()));
        }
    }
}
