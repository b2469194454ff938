//! The file: an embedded database (`SQLite`) with one table of tasks and where in each stream it stands.
//!
//! Changes are applied in batches, each a transaction together with the position behind it; a batch that comes again
//! changes nothing. Losing the file loses nothing, so it is written without waiting for the disk.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use protocol::Timestamp;
use protocol::limits::KEPT_MIN;
use protocol::query::Row;
use protocol::task::TaskState;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::rounds::Rounds;
use crate::row::{Change, Moved};

/// The layout of the table. Another one means that the file is thrown away and made again.
const LAYOUT: i64 = 5;
const TABLES: &str = "
    CREATE TABLE task (
        owner TEXT NOT NULL, id TEXT NOT NULL, skill TEXT NOT NULL, context TEXT NOT NULL,
        state INTEGER NOT NULL, waiting_for TEXT, attempts INTEGER NOT NULL, node TEXT, parent TEXT,
        submitted_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, error TEXT, generation INTEGER NOT NULL,
        run INTEGER NOT NULL, paused INTEGER NOT NULL,
        PRIMARY KEY (owner, id)
    ) WITHOUT ROWID;
    CREATE INDEX task_by_change ON task (changed_at, owner, id);
    CREATE INDEX task_by_owner ON task (owner, changed_at, id);
    -- Without the time of change: a task's skill stays, so that only new tasks pay for it.
    CREATE INDEX task_by_skill ON task (owner, skill);
    CREATE INDEX task_by_context ON task (owner, context) WHERE context <> id;
    CREATE INDEX task_by_parent ON task (owner, parent) WHERE parent IS NOT NULL;
    CREATE INDEX task_by_state ON task (owner, state, changed_at, id);
    CREATE TABLE tally (
        owner TEXT NOT NULL, skill TEXT NOT NULL, state INTEGER NOT NULL, tasks INTEGER NOT NULL,
        PRIMARY KEY (owner, skill, state)
    ) WITHOUT ROWID;
    CREATE TRIGGER tally_new AFTER INSERT ON task BEGIN
        INSERT INTO tally VALUES (new.owner, new.skill, new.state, 1)
            ON CONFLICT (owner, skill, state) DO UPDATE SET tasks = tasks + 1;
    END;
    CREATE TRIGGER tally_moved AFTER UPDATE OF skill, state ON task
        WHEN new.skill <> old.skill OR new.state <> old.state
    BEGIN
        UPDATE tally SET tasks = tasks - 1 WHERE owner = old.owner AND skill = old.skill AND state = old.state;
        INSERT INTO tally VALUES (new.owner, new.skill, new.state, 1)
            ON CONFLICT (owner, skill, state) DO UPDATE SET tasks = tasks + 1;
    END;
    CREATE TRIGGER tally_gone AFTER DELETE ON task BEGIN
        UPDATE tally SET tasks = tasks - 1 WHERE owner = old.owner AND skill = old.skill AND state = old.state;
    END;
    CREATE TABLE feed (stream TEXT PRIMARY KEY, sequence INTEGER NOT NULL, created TEXT NOT NULL) WITHOUT ROWID;
";

/// Rows forgotten together: whoever applies a batch waits for that long at most.
const FORGET_TOGETHER: i64 = 1_000;

/// Which stream a batch was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Submissions.
    Inbox,
    /// Logs.
    Log,
}

impl Feed {
    fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Log => "log",
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the read model {} cannot be opened", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What the database says.
    #[source]
    pub source: rusqlite::Error,
}

/// A batch was not applied.
#[derive(Debug, thiserror::Error)]
#[error("the read model does not take a batch")]
pub struct StoreError(#[from] rusqlite::Error);

/// The index. One writer; reads have a connection of their own and never wait for it.
#[derive(Debug)]
pub struct Projection {
    writer: Mutex<Connection>,
    pub(crate) reader: Mutex<Connection>,
    pub(crate) rounds: Rounds,
}

impl Projection {
    /// Opens the file, making it if it is not there or of another layout, or has not been written to for so long that
    /// tasks may have ended and gone meanwhile.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |source| OpenError { path: path.to_owned(), source };
        if is_left(path) {
            remove(path, "nobody has written to it for an hour");
        }
        let writer = match Self::writer(path) {
            Ok(writer) => writer,
            Err(error) => {
                remove(path, &error.to_string());
                Self::writer(path).map_err(fail)?
            }
        };
        let reader = Connection::open(path).map_err(fail)?;
        reader.pragma_update(None, "query_only", true).map_err(fail)?;
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader), rounds: Rounds::new() })
    }

    /// Waits until everything is in that was stored before now, for `limit` at most. `false`: what the index says may be
    /// older; it is still being made, or nobody follows the streams.
    pub async fn caught_up(&self, limit: Duration) -> bool {
        self.rounds.pass(limit).await
    }

    fn writer(path: &Path) -> Result<Connection, rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        let layout: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if layout == 0 {
            connection.execute_batch(TABLES)?;
            connection.pragma_update(None, "user_version", LAYOUT)?;
        } else if layout != LAYOUT {
            return Err(rusqlite::Error::InvalidQuery);
        }
        Ok(connection)
    }

    /// Where it stands in a stream that was created at that time, as the stream says: the last sequence taken in,
    /// 0 for none. A stream created at another time is another stream: everything is forgotten.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn position(&self, feed: Feed, created: &str) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = writer
            .query_row(
                "SELECT sequence, created FROM feed WHERE stream = ?1",
                [feed.name()],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
            )
            .optional()?;
        match known {
            Some((sequence, at)) if at == created => Ok(u64::try_from(sequence).unwrap_or(0)),
            known => {
                let transaction = writer.transaction()?;
                if known.is_some() {
                    transaction
                        .execute_batch("DELETE FROM task; DELETE FROM tally; DELETE FROM feed;")?;
                }
                transaction.execute(
                    "INSERT INTO feed (stream, sequence, created) VALUES (?1, 0, ?2)",
                    params![feed.name(), created],
                )?;
                transaction.commit()?;
                Ok(0)
            }
        }
    }

    /// Takes in what was read from a stream up to and including `sequence`: all of it or nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn apply(&self, feed: Feed, changes: &[Change], sequence: u64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let transaction = writer.transaction()?;
        for change in changes {
            match change {
                Change::Submitted(row) => put(&transaction, row, false)?,
                Change::Begun(row) => put(&transaction, row, true)?,
                Change::Moved(moved) => update(&transaction, moved)?,
            }
        }
        transaction
            .prepare_cached("UPDATE feed SET sequence = ?2 WHERE stream = ?1")?
            .execute(params![feed.name(), i64::try_from(sequence).unwrap_or(i64::MAX)])?;
        transaction.commit()?;
        Ok(())
    }

    /// Forgets the tasks that ended before a time, but for children of others: those go with their parents.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn forget(&self, before: Timestamp) -> Result<(), StoreError> {
        let ended: Vec<i64> =
            TaskState::ALL.into_iter().filter(|state| state.is_terminal()).map(number).collect();
        let states = serde_json::to_string(&ended).unwrap_or_default();
        loop {
            let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let gone = writer
                .prepare_cached(
                    "DELETE FROM task WHERE (owner, id) IN (
                         SELECT owner, id FROM task AS one
                         WHERE changed_at < ?1 AND state IN (SELECT value FROM json_each(?2))
                             AND NOT EXISTS (
                                 SELECT 1 FROM task AS parent WHERE parent.owner = one.owner AND parent.id = one.parent
                                     AND (parent.changed_at >= ?1 OR parent.state NOT IN (SELECT value FROM json_each(?2))))
                         LIMIT ?3)",
                )?
                .execute(params![before.millis(), states, FORGET_TOGETHER])?;
            if gone < usize::try_from(FORGET_TOGETHER).unwrap_or(0) {
                return Ok(());
            }
        }
    }
}

/// The file and what the database keeps beside it.
fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        file.into()
    })
}

/// Whether it is there and was last written to longer ago than a task stays after its end at least.
fn is_left(path: &Path) -> bool {
    let ages = files(path).into_iter().filter_map(|file| {
        let written = file.metadata().ok()?.modified().ok()?;
        Some(written.elapsed().unwrap_or_default())
    });
    ages.min().is_some_and(|age| age > KEPT_MIN)
}

fn remove(path: &Path, reason: &str) {
    tracing::info!(path = %path.display(), reason, "read model made anew");
    for file in files(path) {
        // A file that is not there needs no removal; any other trouble shows when it is opened.
        drop(std::fs::remove_file(file));
    }
}

fn put(transaction: &Transaction<'_>, row: &Row, begun: bool) -> Result<(), rusqlite::Error> {
    let sql = if begun {
        "INSERT INTO task VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?7, ?14)
         ON CONFLICT (owner, id) DO UPDATE SET skill = ?3, context = ?4, state = ?5, waiting_for = ?6, attempts = ?7,
             node = ?8, parent = ?9, submitted_at = ?10, changed_at = ?11, error = ?12, generation = ?13,
             run = ?7, paused = ?14
         WHERE generation < ?13"
    } else {
        "INSERT INTO task VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?7, ?14)
         ON CONFLICT (owner, id) DO NOTHING"
    };
    transaction.prepare_cached(sql)?.execute(params![
        row.owner,
        row.id,
        row.skill,
        row.context_id,
        number(row.state),
        row.waiting_for,
        row.attempts,
        row.node,
        row.parent,
        row.submitted_at.millis(),
        row.changed_at.millis(),
        row.error,
        i64::try_from(row.generation).unwrap_or(i64::MAX),
        // Of all first entries only one that waits can be a run's last.
        row.attempts > 0 && row.waiting_for.is_some(),
    ])?;
    Ok(())
}

fn update(transaction: &Transaction<'_>, moved: &Moved) -> Result<(), rusqlite::Error> {
    let (attempt, node) = moved.attempt.as_ref().map(|(at, node)| (*at, node.as_str())).unzip();
    transaction
        .prepare_cached(
            "UPDATE task SET
                 state = COALESCE(?3, CASE WHEN COALESCE(?5, attempts) > 0 THEN ?8 ELSE ?9 END),
                 waiting_for = ?4, attempts = attempts + (COALESCE(?5, run) <> run AND NOT paused),
                 run = COALESCE(?5, run),
                 paused = CASE WHEN ?5 IS NULL THEN paused WHEN ?5 = run THEN paused OR ?12 ELSE ?12 END, node = COALESCE(?6, node),
                 changed_at = ?7, error = ?10, generation = ?11
             WHERE owner = ?1 AND id = ?2 AND generation < ?11",
        )?
        .execute(params![
            moved.owner,
            moved.id,
            moved.state.map(number),
            moved.waiting_for,
            attempt,
            node,
            moved.changed_at.millis(),
            number(TaskState::Working),
            number(TaskState::Submitted),
            moved.error,
            i64::try_from(moved.generation).unwrap_or(i64::MAX),
            moved.is_pause,
        ])?;
    Ok(())
}

/// The state as the table holds it: its place in the list of states.
pub(crate) fn number(state: TaskState) -> i64 {
    let at = TaskState::ALL.iter().position(|one| *one == state).unwrap_or(0);
    i64::try_from(at).unwrap_or(0)
}
