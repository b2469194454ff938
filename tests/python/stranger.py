"""A client that knows NATS and nothing of Weft.

Usage: stranger.py FUNCTION SERVER_URL. Prints one JSON value: what the client saw.
"""

import asyncio
import json
import sys

import msgpack
import nats

LIMIT_SECONDS = 20
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def ended(events, task):
    """The entry that ended a task, off a subscription to its owner's events."""
    while True:
        message = await events.next_msg(timeout=LIMIT_SECONDS)
        if message.subject.endswith("." + task):
            entry = json.loads(message.data)
            if entry["event"]["type"] in ("completed", "failed", "rejected", "canceled"):
                return entry


async def bare(client):
    """Publishes text and JSON with nothing else, and reads the results off the events."""
    events = await client.subscribe("weft.event.default.*")
    js = client.jetstream()
    seen = []
    for body in (b"hello", b'{"a": [1, 2]}', b"[true]", b"", "caf\u00e9".encode(), b"\xff\x00"):
        ack = await js.publish("weft.task.echo", body)
        entry = await ended(events, f"s{ack.seq}")
        seen.append({"seq": ack.seq, "stream": ack.stream, "entry": entry})
    return seen


async def core(client):
    """Publishes without JetStream: no receipt, but a task all the same."""
    events = await client.subscribe("weft.event.default.*")
    await client.publish("weft.task.echo", b"no receipt")
    await client.flush()
    message = await events.next_msg(timeout=LIMIT_SECONDS)
    return {"subject": message.subject, "entry": json.loads(message.data)}


async def call(client):
    """Asks and gets the finished task as the answer."""
    seen = {}
    for name, subject, body, headers in (
        ("text", "weft.call.echo", b"ping", None),
        ("input", "weft.call.probe", b'{"echo": {"deep": [1]}}', {"Weft-Context-Id": "talk"}),
        ("fails", "weft.call.probe", b'{"failUntilAttempt": 9, "failAs": "permanent"}', None),
        ("invalid", "weft.call.probe", b'{"sleepMs": "long"}', None),
        ("refused", "weft.call.echo", b"x", {"Weft-Deadline": "soon"}),
        ("large", "weft.call.echo", b"x" * (256 * 1024 + 1), None),
    ):
        answer = await client.request(subject, body, timeout=LIMIT_SECONDS, headers=headers)
        seen[name] = json.loads(answer.data)
    return seen


async def headers(client):
    """Uses every header that a submitter may set."""
    events = await client.subscribe("weft.event.acme.*")
    replies = await client.subscribe("replies.here")
    js = client.jetstream()
    asked = {
        "Weft-Task-Id": "order-17",
        "Weft-Context-Id": "conversation",
        "Weft-Deadline": "60s",
        "Weft-Reply-To": "replies.here",
        "Content-Type": "application/json",
        "traceparent": TRACE,
    }
    await js.publish("weft.task.echo.acme", b'{"n": 1}', headers=asked)
    first = await ended(events, "order-17")
    reply = json.loads((await replies.next_msg(timeout=LIMIT_SECONDS)).data)
    await js.publish("weft.task.echo.acme", b"1", headers={"Weft-Dedup-Key": "a key of mine"})
    message = await events.next_msg(timeout=LIMIT_SECONDS)
    keyed = {"task": message.subject.rsplit(".", 1)[1]}
    again = {"Weft-Dedup-Key": "a key of mine", "Weft-Reply-To": "replies.here"}
    await js.publish("weft.task.echo.acme", b"1", headers=again)
    repeated = json.loads((await replies.next_msg(timeout=LIMIT_SECONDS)).data)
    return {"first": first, "reply": reply, "keyed": keyed, "repeated": repeated}


async def packed(client):
    """Speaks MessagePack with a package that was not made for Weft."""
    events = await client.subscribe("weft.event.default.*")
    js = client.jetstream()
    message = {
        "messageId": "from-python",
        "role": "ROLE_USER",
        "parts": [{"data": {"n": [1, 2.5, None, True], "text": "\u00e9"}}],
    }
    ack = await js.publish(
        "weft.task.echo",
        msgpack.packb(message),
        headers={"Content-Type": "application/msgpack"},
    )
    packed_entry = await ended(events, f"s{ack.seq}")
    ack = await js.publish(
        "weft.task.echo",
        json.dumps(message).encode(),
        headers={"Content-Type": "application/a2a+json"},
    )
    return {"msgpack": packed_entry, "json": await ended(events, f"s{ack.seq}")}


async def main():
    name, url = sys.argv[1:]
    client = await nats.connect(url)
    try:
        seen = await {f.__name__: f for f in (bare, core, call, headers, packed)}[name](client)
    finally:
        await client.close()
    print(json.dumps(seen))


asyncio.run(main())
