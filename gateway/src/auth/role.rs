//! Roles: what callers may do, and how often.

use std::collections::BTreeMap;

use protocol::Owner;
use runtime::config::{AccessSection, ROLE_ANYBODY, ROLE_CALLER, RoleSection};

use super::rate::Rate;
use crate::a2a::error::Error;
use crate::core::call::{Caller, Operation};

/// The roles of a gateway.
pub(super) struct Roles(BTreeMap<String, Role>);

struct Role {
    section: RoleSection,
    rate: Option<Rate>,
}

impl Roles {
    pub(super) fn new(section: &AccessSection) -> Self {
        let everything = |owners: Option<Vec<Owner>>| RoleSection {
            operations: Operation::ALL.map(|one| one.word().to_owned()).to_vec(),
            skills: None,
            owners,
            rate: None,
            burst: 1,
        };
        let mut sections = BTreeMap::from([
            (ROLE_CALLER.to_owned(), everything(Some(Vec::new()))),
            (ROLE_ANYBODY.to_owned(), everything(None)),
        ]);
        sections.extend(section.roles.clone());
        let with_rate = |(name, section): (String, RoleSection)| {
            let rate = section.rate.and_then(|rate| Rate::new(rate, section.burst));
            (name, Role { section, rate })
        };
        Self(sections.into_iter().map(with_rate).collect())
    }

    /// Somebody who has all of these roles; those that are not known here give nothing. `None` without any that is.
    pub(super) fn caller(&self, name: &str, owner: &Owner, roles: &[String]) -> Option<Caller> {
        let mut known = roles.iter().filter_map(|role| self.0.get(role)).peekable();
        known.peek()?;
        let mut caller = Caller {
            name: name.to_owned(),
            owner: owner.clone(),
            owners: Some(Vec::new()),
            skills: Some(Vec::new()),
            operations: Vec::new(),
        };
        for Role { section, .. } in known {
            let allowed =
                |one: &Operation| section.operations.iter().any(|word| word == one.word());
            caller.operations.extend(Operation::ALL.into_iter().filter(allowed));
            join(&mut caller.owners, section.owners.as_deref());
            join(&mut caller.skills, section.skills.as_deref());
        }
        caller.operations.sort_unstable();
        caller.operations.dedup();
        Some(caller)
    }

    /// Counts one request of somebody with these roles. The most generous one counts; one without a limit has none.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub(super) fn count(&self, who: &str, roles: &[String]) -> Result<(), Error> {
        let mut rates = Vec::new();
        for role in roles.iter().filter_map(|role| self.0.get(role)) {
            let Some(rate) = &role.rate else { return Ok(()) };
            rates.push((role.section.rate.unwrap_or_default(), rate));
        }
        let most = rates.into_iter().max_by(|(one, _), (other, _)| one.total_cmp(other));
        most.map_or(Ok(()), |(_, rate)| {
            rate.take(&who).map_err(|retry_after| Error::RateLimited { retry_after })
        })
    }
}

/// Everything that either allows; `None` allows all.
fn join<T: Clone>(all: &mut Option<Vec<T>>, more: Option<&[T]>) {
    match (all.as_mut(), more) {
        (Some(all), Some(more)) => all.extend_from_slice(more),
        (_, None) => *all = None,
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::{OPERATIONS, Settings};

    #[test]
    fn the_words_of_the_settings_are_those_of_the_operations() {
        assert_eq!(OPERATIONS, Operation::ALL.map(Operation::word));
    }

    #[test]
    fn roles_add_up_and_unknown_ones_give_nothing() {
        let text = r#"
            [gateway.roles.reader]
            operations = ["read"]
            skills = ["echo"]
            [gateway.roles.sender]
            operations = ["send", "read"]
            skills = ["probe"]
            owners = ["other"]
            [gateway.roles.chief]
            operations = ["*"]
            owners = ["*"]
        "#;
        let access = Settings::parse(text).unwrap().gateway.access;
        let roles = Roles::new(&access);
        let owner = Owner::default();
        let show = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let caller = roles.caller("n", &owner, &names)?;
            let count = |list: Option<usize>| list.map_or("all".to_owned(), |len| len.to_string());
            Some(format!(
                "{} operations, {} skills, {} owners",
                caller.operations.len(),
                count(caller.skills.map(|all| all.len())),
                count(caller.owners.map(|all| all.len()))
            ))
        };
        for (names, shown) in [
            (&["reader"][..], Some("1 operations, 1 skills, 0 owners")),
            (&["reader", "sender"], Some("2 operations, 2 skills, 1 owners")),
            (&["reader", "chief"], Some("6 operations, all skills, all owners")),
            (&["reader", "king"], Some("1 operations, 1 skills, 0 owners")),
            (&["caller"], Some("6 operations, all skills, 0 owners")),
            (&["anybody"], Some("6 operations, all skills, all owners")),
            (&["king"], None),
            (&[], None),
        ] {
            assert_eq!(show(names).as_deref(), shown, "{names:?}");
        }
    }
}
