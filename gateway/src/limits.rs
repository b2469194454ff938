//! Every limit of the gateway, with its reason.

use std::time::Duration;

/// Events that wait for one follower. Beyond that it reads the log: a client that takes its events slowly costs reads, no
/// memory.
pub const MAILBOX_EVENTS_MAX: usize = 64;
/// The same in bytes.
pub const MAILBOX_BYTES_MAX: usize = 256 * 1024;
/// Events that are kept for tasks which nobody follows yet: a task's events may come before its receipt. 20,000 tasks a
/// second make a fifth of a second of this.
pub const RECENT_EVENTS_MAX: usize = 4096;
/// The same in bytes.
pub const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A follower that has heard nothing for this long looks into the log; then after twice as long, and so on. An event is
/// lost only with a connection, which is noticed, or between servers.
pub const SILENCE_FIRST: Duration = Duration::from_secs(2);
/// The longest silence: 5,000 idle streams read 80 logs a second.
pub const SILENCE_MAX: Duration = Duration::from_secs(64);
/// Logs that followers read at once.
pub const LOG_READS_MAX: usize = 64;
/// How long a follower rests when the log cannot be read.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often in a row a follower finds the log unreadable before it gives up: minutes, with the bus's own limit on each.
pub const LOOKS_FAILED_MAX: u32 = 60;
/// How often an owner's subscription is checked for being of use.
pub const OWNER_IDLE_CHECK_EVERY: Duration = Duration::from_secs(15);
/// An owner nobody has asked about for this long, and whose tasks nobody follows, is not listened to any more.
pub const OWNER_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a blocking send waits before it answers with the task as it stands. Proxies give up long before.
pub const SEND_WAIT_MAX: Duration = Duration::from_secs(30 * 60);
/// How long before the end of a stopping gateway's grace those who wait for a task are answered without its end: the
/// answer still has to be written. Of a short grace it is the half.
pub const LAST_WORDS: Duration = Duration::from_millis(500);
/// The longest time that a gRPC client may give a call; who names a longer one has none.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a cancel waits for its effect.
pub const CANCEL_WAIT_MAX: Duration = Duration::from_secs(8);
/// How often it is tried whether tasks would be accepted.
pub const READY_CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a gateway that starts waits for the first such try before it opens without.
pub const READY_FIRST_WAIT: Duration = Duration::from_secs(2);
/// The registry as it was read this long ago is good enough for a request.
pub const AGENTS_AGE_MAX: Duration = Duration::from_secs(1);
/// Beyond this age a request waits for a newer one; in between the old one serves while the new one is read.
pub const AGENTS_STALE_MAX: Duration = Duration::from_secs(10);
/// A request for a skill that the registry did not have reads it again when it is older than this.
pub const AGENTS_MISS_AGE_MAX: Duration = Duration::from_millis(100);
/// Tasks of a page.
pub const LIST_PAGE_DEFAULT: usize = 50;
/// Tasks of a page, at most (A2A 1.0, `ListTasks`).
pub const LIST_PAGE_MAX: usize = 100;
/// Logs that a page of tasks reads at once when it is to have histories or artifacts.
pub const LIST_READS_MAX: usize = 16;
/// What the inline parts of one message may have together, in bytes; beyond it the largest go to the object store. The
/// rest of a task's body is for its metadata.
pub const INLINE_PARTS_BYTES_MAX: usize = 192 * 1024;

/// The body of a request, in bytes. Base64 makes a file a third larger; what is over the inline limit goes to the object
/// store part by part.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a client may take to send a body.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a stream may be silent before a comment is sent: clients give up after 5 s.
pub const KEEP_ALIVE: Duration = Duration::from_millis(2500);
/// Characters of a request id that a client chooses.
pub const REQUEST_ID_CHARS_MAX: usize = 128;
/// Bytes of a JSON-RPC id: it comes back with the answer, and with each event of a stream.
pub const JSONRPC_ID_BYTES_MAX: usize = 256;
/// Extensions that a request may name; what comes after them is not looked at.
pub const EXTENSIONS_MAX: usize = 32;
/// How long a plain request may ask to wait for a task. Proxies give up before.
pub const PLAIN_WAIT_MAX: Duration = Duration::from_secs(600);
/// Tasks of a tree that a plain request gets.
pub const PLAIN_TREE_MAX: usize = 1_000;
/// Approvals that a plain request gets.
pub const PLAIN_APPROVALS_MAX: usize = 200;
/// Webhooks of one task.
pub const PUSH_CONFIGS_MAX: usize = 16;
/// Characters of a webhook's URL.
pub const PUSH_URL_CHARS_MAX: usize = 2048;
/// Characters of a webhook's id: clients take URLs and names for them.
pub const PUSH_ID_CHARS_MAX: usize = 128;
/// How long a client that makes a webhook waits for its name to resolve.
pub const PUSH_CHECK_MAX: Duration = Duration::from_secs(1);
/// Characters of an authentication scheme.
pub const PUSH_SCHEME_CHARS_MAX: usize = 64;
/// Characters of a webhook's credentials, and of its token: what fits into a header that servers take.
pub const PUSH_SECRET_CHARS_MAX: usize = 4096;
/// Webhooks of a page.
pub const PUSH_PAGE_DEFAULT: usize = 50;
/// Webhooks of a page, at most.
pub const PUSH_PAGE_MAX: usize = 100;
/// Webhooks whose tasks one gateway waits for: each takes some ten kilobytes. Further ones wait for another gateway.
pub const PUSH_HELD_MAX: usize = 20_000;
/// Jobs pulled ahead.
pub const PUSH_PULL: usize = 256;
/// Calls under way at once, over all endpoints.
pub const PUSH_CALLS_MAX: usize = 256;
/// Calls under way at once to one endpoint: a slow one holds up its own webhooks and nobody else's.
pub const PUSH_CALLS_PER_ENDPOINT_MAX: usize = 8;
/// Endpoints whose circuits are remembered while nothing is called there.
pub const PUSH_ENDPOINTS_MAX: usize = 10_000;
/// How long a connection to a webhook may take to be made, TLS included.
pub const PUSH_CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes that are read of a webhook's answer: nobody looks at them, and a connection that was read to its end can be
/// closed in good order.
pub const PUSH_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// How long a job rests when the bus does not let it go on.
pub const PUSH_REST: Duration = Duration::from_secs(1);
/// How long a job rests when the gateway that holds it does not have the key of its webhook. Others may have it then.
pub const PUSH_KEYLESS_REST: Duration = Duration::from_secs(5);
/// Public cards that are kept ready. Who asks under many host names makes them anew each time, and fills no memory.
pub const CARDS_KEPT_MAX: usize = 256;
/// Characters of a file's name in its address.
pub const FILE_NAME_CHARS_MAX: usize = 255;
/// Bytes of a file that is brought: what an agent can fetch.
pub const FILE_BYTES_MAX: usize = protocol::limits::OBJECT_BYTES_MAX;
/// Audit entries that wait to be stored. Beyond it requests wait.
pub const AUDIT_QUEUE_MAX: usize = 4096;
/// How long a request waits for a place among them before it is refused.
pub const AUDIT_WAIT_MAX: Duration = Duration::from_secs(5);
/// When the audit entry of a request is written that has no answer yet. By then the doors have decided.
pub const AUDIT_AFTER: Duration = Duration::from_millis(250);
/// Bytes of a body that is parsed on the thread that serves its connection. Measured in release builds, 16 KiB take 0.06
/// (texts) to 0.3 ms (small objects), 1 MiB 3 to 100 ms, and another thread costs some 20 us to go to.
pub const PARSED_AT_ONCE_BYTES_MAX: usize = 16 * 1024;
/// Values in a JSON body: each takes some hundred bytes once it is read, however short its text is.
pub const JSON_VALUES_MAX: usize = 200_000;
/// What is read of a request that was answered before its body had come, once the answer is out: a client that writes
/// all of the largest body finds the answer behind it. Nothing of it is kept.
pub const LINGER_BYTES_MAX: usize = BODY_BYTES_MAX + 1024 * 1024;
/// How long that may take.
pub const LINGER_WAIT_MAX: Duration = Duration::from_secs(15);
/// How long nothing may come meanwhile.
pub const LINGER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// How much of a refused request's body is read before the answer, so that its connection can be used again.
pub const DRAINED_BYTES_MAX: usize = 64 * 1024;
/// How long that may take.
pub const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// Characters of a file's media type.
pub const FILE_TYPE_CHARS_MAX: usize = 255;
/// How long a file that is brought may stand still.
pub const FILE_SILENCE_MAX: Duration = Duration::from_secs(30);
