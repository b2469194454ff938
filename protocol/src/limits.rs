//! Every limit of the wire, with its reason.
//!
//! A limit that an operator may change is a setting whose default stands here; the others are part
//! of the contract, and a message beyond them is refused with an error that names the limit.

use std::time::Duration;

/// The body of a task, in bytes. Larger parts go through the object store. Decoding 256 KiB of hostile
/// MessagePack takes at most some 8 MB of memory.
pub const TASK_BYTES_MAX: usize = 256 * 1024;
/// All headers of one message together, in bytes.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Bytes of one audit entry. Whatever clients may choose in it is cut far below.
pub const AUDIT_ENTRY_BYTES_MAX: usize = 16 * 1024;
/// How long decisions of doors are kept, unless the settings say otherwise.
pub const AUDIT_AGE_DEFAULT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Bytes of them, unless the settings say otherwise: two million and a half. The server sets them aside.
pub const AUDIT_BYTES_DEFAULT: i64 = 1024 * 1024 * 1024;
/// One stored message, headers included: what `WEFT_INBOX` accepts.
pub const INBOX_MESSAGE_BYTES_MAX: usize = TASK_BYTES_MAX + HEADER_BYTES_MAX;
/// How deep JSON or MessagePack may nest. Deeper input is hostile: people stop at ten.
pub const DEPTH_MAX: usize = 64;
/// How deep JSON that Weft itself wrote may nest: an input or output of [`DEPTH_MAX`] levels and what is
/// wrapped around it in an entry or a dead letter. The parser's own limit is 127.
pub const STORED_DEPTH_MAX: usize = DEPTH_MAX + 16;
/// An agent's JSON Schema, in bytes; compiling a large nested one takes seconds and gigabytes.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// A result part above this, in bytes, goes to the object store and the log holds a reference.
pub const INLINE_PART_BYTES_MAX: usize = 128 * 1024;
/// One part fetched from or stored in the object store, in bytes.
pub const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The shortest time for which ended tasks, and the decisions of doors, may be kept: what is shorter is not meant. The server
/// wants more than the time that it remembers message ids for, and who remembers a task may rely on it for so long.
pub const KEPT_MIN: Duration = Duration::from_secs(60 * 60);
/// How long a file that nothing names stays after it was stored last, unless the settings say otherwise: a day for whoever
/// brings files first and sends the message that names them later. Coordinators read the streams twice in that time.
pub const UNUSED_FILES_KEPT_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest such time. Between a file's last piece and the message that names it, clients take longer than this only
/// at a risk.
pub const UNUSED_FILES_KEPT_MIN: Duration = Duration::from_secs(1);
/// All parts that one attempt fetches from the object store, in bytes: a message of a few kilobytes can name hundreds of
/// objects, and they are held in memory until the attempt ends.
pub const OBJECTS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// All parts of one entry that stay in it, in bytes; beyond this the largest go to the object store. A server takes
/// messages of 1 MiB unless told otherwise.
pub const ENTRY_PARTS_BYTES_MAX: usize = 512 * 1024;
/// Parts of one message.
pub const PARTS_MAX: usize = 256;
/// Characters of a skill, owner, node or context name. Subjects stay far below the server's 4 KiB line.
pub const NAME_CHARS_MAX: usize = 64;
/// Characters of a dedup key.
pub const DEDUP_KEY_CHARS_MAX: usize = 256;
/// Characters of an error message kept in the log; the rest is cut and says so.
pub const FAULT_CHARS_MAX: usize = 4096;
/// Children of one delegation entry. A larger fan-out is several entries.
pub const CHILDREN_PER_ENTRY_MAX: usize = 500;
/// Children of one delegation: a tree of delegations serves more.
pub const FAN_OUT_MAX: usize = 10_000;
/// Delegations above one another. What goes deeper is a loop.
pub const DELEGATION_DEPTH_MAX: u32 = 16;
/// Entries of the journal of one task. What needs more is several tasks: a journal is read on every resume.
pub const JOURNAL_MAX: usize = 20_000;
/// Entries of the log of one task. A log is read from end to end by every attempt and by whoever asks about the task;
/// one of this length takes seconds. What ends an attempt or the task is written beyond it.
pub const LOG_ENTRIES_MAX: usize = 50_000;
/// Words about progress that one attempt may write at once; further ones wait for [`STATUS_EVERY`].
pub const STATUS_AT_ONCE: u32 = 50;
/// How often an attempt writes a word about its progress at most; the newest one counts. People read no faster.
pub const STATUS_EVERY: Duration = Duration::from_millis(200);
/// Messages kept for one task, and as many signals, and as many decisions: each kind has room of its own, so that a flood
/// of one keeps nothing of another out.
pub const INPUTS_MAX: usize = 1_000;
/// Names of steps, waits and delegations, in characters.
pub const STEP_NAME_CHARS_MAX: usize = 256;
/// Equal calls in a row after which a loop is broken.
pub const EQUAL_CALLS_MAX_DEFAULT: u32 = 5;
/// Messages of one atomic batch; the server's own limit is 1,000.
pub const BATCH_MESSAGES_MAX: usize = 200;

/// Calls (`weft.call.<skill>`) that one coordinator waits for at once; each costs it a subscription. What comes beyond
/// is answered as busy.
pub const CALLS_MAX: usize = 1_000;

/// How long a delivery belongs to a worker that gives no sign of life (`ack_wait`).
pub const LEASE_DEFAULT: Duration = Duration::from_secs(10);
/// How long a wake, a cancel or an input belongs to a coordinator that gives no sign of life. Coordinators finish one in
/// milliseconds; a stalled one whose work is given to another is refused by the fence.
pub const CARE_LEASE: Duration = Duration::from_millis(400);
/// How long a task may run before its attempt is written down. A task that ends earlier commits one
/// entry in all; a longer one is worth the extra write.
pub const CLAIM_AFTER: Duration = Duration::from_millis(5);
/// Above this a retry waits as a scheduled message rather than as a delayed NAK, which would occupy
/// `max_ack_pending` and would not survive the consumer.
pub const NAK_DELAY_MAX: Duration = Duration::from_secs(5);
/// The longest wait before another attempt that an agent may ask for. What waits longer is a task of another day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Deliveries of one message before the server gives up on it: only a backstop, since attempts are
/// counted in the log. A message that has been handed out half as often is re-queued as a new one.
pub const DELIVERIES_MAX: i64 = 64;
/// Deliveries a consumer may have in flight over all nodes.
pub const ACK_PENDING_MAX: i64 = 20_000;
/// Webhooks that may wait for their tasks over all gateways: each is a delivery in flight for as long as its task lives.
pub const PUSH_PENDING_MAX: i64 = 1_000_000;
/// Pull requests that may wait at one consumer: one per node and a few in reserve.
pub const PULLS_WAITING_MAX: i64 = 4096;
/// How long the server remembers a `Nats-Msg-Id`. Transport dedup only.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// An agent card that is not renewed for this long is gone.
pub const HEARTBEAT_TTL: Duration = Duration::from_secs(15);
/// How often a node renews its cards.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// How long a canceled attempt may take to end by itself before it is ended.
pub const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(5);
/// Characters of the reason that a cancel gives.
pub const CANCEL_REASON_CHARS_MAX: usize = 500;
/// The longest time that a skill may give its canceled attempts. A canceled task whose worker has vanished is ended
/// by a coordinator only after this, where the registry does not know the skill.
pub const CANCEL_GRACE_MAX: Duration = Duration::from_secs(60);
/// How long a node that was told to stop lets its attempts reach a commit.
pub const DRAIN_GRACE_DEFAULT: Duration = Duration::from_secs(20);
