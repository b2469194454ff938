//! Lists of tasks, newest change first, page by page.
//!
//! A page ends with a cursor that names its last row. Rows that change while somebody turns pages move to the front:
//! none is left out that did not change, and none is shown twice on the way down.

use protocol::Timestamp;
use protocol::query::{PAGE_DEFAULT, PAGE_MAX, Page, Query, Row};
use protocol::task::TaskState;
use rusqlite::types::Value;

use crate::store::{Projection, number};

/// Why a list cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is none that a page ended with.
    #[error("{cursor:?} is no cursor of this list; begin without one")]
    Cursor {
        /// The cursor.
        cursor: String,
    },
    /// The file does not answer.
    #[error("the read model cannot be read")]
    Read(#[from] rusqlite::Error),
}

/// A condition with its values, in the order of its question marks.
struct Condition(String, Vec<Value>);

impl Condition {
    fn and(&mut self, sql: &str, value: impl Into<Value>) {
        self.0.push_str(" AND ");
        self.0.push_str(sql);
        self.1.push(value.into());
    }
}

fn condition(query: &Query) -> Condition {
    let mut condition = Condition("1".to_owned(), Vec::new());
    for (sql, value) in [
        ("owner = ?", &query.owner),
        ("skill = ?", &query.skill),
        ("context = ?", &query.context_id),
        ("parent = ?", &query.parent),
        ("waiting_for = ?", &query.waiting_for),
    ] {
        if let Some(value) = value {
            condition.and(sql, value.clone());
        }
    }
    if let Some(skills) = &query.skills {
        let marks = vec!["?"; skills.len()].join(", ");
        condition.0.push_str(&format!(" AND skill IN ({marks})"));
        condition.1.extend(skills.iter().map(|skill| Value::from(skill.clone())));
    }
    if let Some(state) = query.state {
        condition.and("state = ?", number(state));
    }
    if let Some(since) = query.changed_since {
        condition.and("changed_at >= ?", since.millis());
    }
    condition
}

/// Whether the query asks only for what the tally is kept by: owner, skill and state.
fn is_tallied(query: &Query) -> bool {
    query.context_id.is_none()
        && query.parent.is_none()
        && query.waiting_for.is_none()
        && query.changed_since.is_none()
}

/// Tasks of a skill, beyond which the newest of them are found faster among all tasks of the owner.
const SKILL_TASKS_MAX: i64 = 20_000;

/// Where to look. The newest tasks of a common skill are among the newest of all; those of a rare one may be anywhere
/// among a million, and are all read and sorted instead. `total` is how many there are.
fn table(query: &Query, total: i64) -> &'static str {
    let by_skill = query.skill.is_some() || query.skills.is_some();
    if by_skill && query.owner.is_some() && is_tallied(query) && total <= SKILL_TASKS_MAX {
        "task INDEXED BY task_by_skill"
    } else {
        "task"
    }
}

/// The place of a cursor: `<ms>.<owner>.<task>`; none of the three holds a dot.
fn place(query: &Query) -> Result<Option<(i64, &str, &str)>, QueryError> {
    let Some(cursor) = &query.cursor else { return Ok(None) };
    let mut pieces = cursor.splitn(3, '.');
    match (pieces.next().and_then(|ms| ms.parse().ok()), pieces.next(), pieces.next()) {
        (Some(ms), Some(owner), Some(task)) => Ok(Some((ms, owner, task))),
        _ => Err(QueryError::Cursor { cursor: cursor.clone() }),
    }
}

impl Projection {
    /// A page of the tasks that a query asks for.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn list(&self, query: &Query) -> Result<Page, QueryError> {
        let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let place = place(query)?;
        let Condition(sql, values) = condition(query);
        let reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Counting a million rows takes as long as all the rest ten times over.
        let count = if is_tallied(query) {
            format!("SELECT COALESCE(SUM(tasks), 0) FROM tally WHERE {sql}")
        } else {
            format!("SELECT COUNT(*) FROM task WHERE {sql}")
        };
        let total: i64 = reader
            .prepare_cached(&count)?
            .query_row(rusqlite::params_from_iter(&values), |row| row.get(0))?;
        let mut page = Condition(sql, values);
        if let Some((ms, owner, task)) = place {
            page.and("(changed_at, owner, id) < (?, ?, ?)", ms);
            page.1.push(owner.to_owned().into());
            page.1.push(task.to_owned().into());
        }
        let sql = format!(
            "SELECT owner, id, skill, context, state, waiting_for, attempts, node, parent, submitted_at, changed_at,
                 error, generation
             FROM {} WHERE {} ORDER BY changed_at DESC, owner DESC, id DESC LIMIT {}",
            table(query, total),
            page.0,
            limit + 1
        );
        let mut statement = reader.prepare_cached(&sql)?;
        let mut tasks = statement
            .query_map(rusqlite::params_from_iter(&page.1), read)?
            .collect::<Result<Vec<Row>, _>>()?;
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        let next = tasks
            .last()
            .filter(|_| more)
            .map(|last| format!("{}.{}.{}", last.changed_at.millis(), last.owner, last.id));
        Ok(Page { tasks, next, total: u64::try_from(total).unwrap_or(0) })
    }
}

fn read(row: &rusqlite::Row<'_>) -> Result<Row, rusqlite::Error> {
    let state: i64 = row.get(4)?;
    let state = usize::try_from(state).ok().and_then(|at| TaskState::ALL.get(at)).copied();
    Ok(Row {
        owner: row.get(0)?,
        id: row.get(1)?,
        skill: row.get(2)?,
        context_id: row.get(3)?,
        state: state.unwrap_or(TaskState::Submitted),
        waiting_for: row.get(5)?,
        attempts: row.get(6)?,
        node: row.get(7)?,
        parent: row.get(8)?,
        submitted_at: Timestamp::from_millis(row.get(9)?),
        changed_at: Timestamp::from_millis(row.get(10)?),
        error: row.get(11)?,
        generation: row.get::<_, i64>(12).map(|at| u64::try_from(at).unwrap_or(0))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_skill_of_an_owner_has_a_way_of_its_own() {
        let word = |text: &str| Some(text.to_owned());
        let skill = Query { owner: word("acme"), skill: word("echo"), ..Query::default() };
        let skills = Query { skill: None, skills: Some(vec!["echo".to_owned()]), ..skill.clone() };
        for (query, total, own) in [
            (&skill, 0, true),
            (&skill, SKILL_TASKS_MAX, true),
            (&skill, SKILL_TASKS_MAX + 1, false),
            (&skills, 7, true),
            (&Query { owner: None, ..skill.clone() }, 7, false),
            (&Query { skill: None, ..skill.clone() }, 7, false),
            (&Query { context_id: word("c"), ..skill.clone() }, 7, false),
        ] {
            assert_eq!(table(query, total).contains("task_by_skill"), own, "{query:?}, {total}");
        }
    }

    #[test]
    fn every_way_finds_the_same_and_there_is_an_index_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Projection::open(&folder.path().join("tasks.sqlite")).unwrap();
        let row = |at: i64| Row {
            owner: "acme".to_owned(),
            id: format!("t{at:03}"),
            skill: if at % 10 == 3 { "rare" } else { "echo" }.to_owned(),
            context_id: format!("t{at:03}"),
            state: TaskState::Submitted,
            waiting_for: None,
            attempts: 0,
            node: None,
            parent: None,
            submitted_at: Timestamp::from_millis(at),
            changed_at: Timestamp::from_millis(at),
            error: None,
            generation: 0,
        };
        let changes: Vec<_> =
            (0..100).map(|at| crate::Change::Submitted(Box::new(row(at)))).collect();
        store.position(crate::Feed::Inbox, "now").unwrap();
        store.apply(crate::Feed::Inbox, &changes, 100).unwrap();
        let word = |text: &str| Some(text.to_owned());
        let mut query =
            Query { owner: word("acme"), skill: word("rare"), limit: Some(4), ..Query::default() };
        let mut found = Vec::new();
        loop {
            let page = store.list(&query).unwrap();
            assert_eq!(page.total, 10);
            found.extend(page.tasks.into_iter().map(|row| row.changed_at.millis()));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, [93, 83, 73, 63, 53, 43, 33, 23, 13, 3]);
        let reader = store.reader.lock().unwrap();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT id FROM {} WHERE owner = 'acme' AND skill = 'rare'",
            table(&query, 10)
        );
        let plan: String = reader.query_row(&sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains("owner=? AND skill=?"), "{plan}");
    }
}
