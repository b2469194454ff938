#!/usr/bin/env python3
"""The agent that A2A's public conformance kit wants to talk to: what it does is asked for by the beginning of the
message's id."""

import base64
import pathlib
import sys
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

from weft_agent import Parts, Permanent, Reply, serve

# Longer than a client that does not wait, shorter than one that gives up.
DELAY_SECONDS = 2
FILE = {"mediaType": "text/plain", "filename": "output.txt"}


def delay(ctx):
    ctx.status("working")
    until = time.monotonic() + DELAY_SECONDS
    while time.monotonic() < until:
        ctx.check()
        time.sleep(0.05)
    return "Done after delay"


def chunked(ctx):
    ctx.status("working")
    ctx.artifact("chunked", "chunk-1 ", last=False)
    ctx.artifact("chunked", "chunk-2", append=True)
    return "2 chunks"


def streamed(text):
    def play(ctx):
        ctx.status("working")
        return text

    return play


def rejected(_):
    raise Permanent("rejected", code="invalid_input")


def failed(_):
    raise Permanent("failed")


# The first beginning that fits counts.
PLAYS = [
    ("tck-complete-task", lambda _: "Hello from TCK"),
    ("tck-delayed-complete", delay),
    ("test-resubscribe", delay),
    ("tck-artifact-text", lambda _: "Generated text content"),
    ("tck-artifact-file-url", lambda _: Parts([{"url": "https://example.com/output.txt", **FILE}])),
    ("tck-artifact-file", lambda _: Parts([{"raw": base64.b64encode(b"tck").decode(), **FILE}])),
    ("tck-artifact-data", lambda _: {"key": "value", "count": 42}),
    ("tck-stream-artifact-chunked", chunked),
    ("tck-stream-artifact-file", lambda _: Parts([{"raw": base64.b64encode(b"tck").decode(), **FILE}])),
    ("tck-stream-artifact-text", streamed("Streamed text content")),
    ("tck-stream-ordering-001", streamed("Ordered output")),
    ("tck-stream-001", streamed("Stream hello from TCK")),
    ("tck-stream-002", lambda _: Reply("Direct message response")),
    ("tck-stream-003", streamed("Stream task lifecycle")),
    ("tck-message-response", lambda _: Reply("Direct message response")),
    ("tck-input-required", lambda ctx: ctx.ask("input", "What else?") or "Thanks"),
    ("tck-auth-required", lambda ctx: ctx.ask("who", "Who are you?", auth=True) or "Thanks"),
    ("tck-reject-task", rejected),
    ("tck-task-failure", failed),
    ("tck-fail", failed),
]


def conform(_, ctx):
    for beginning, play in PLAYS:
        if ctx.message_id.startswith(beginning):
            return play(ctx)
    return "Nothing is asked for by the id %r" % ctx.message_id


serve(conform)
