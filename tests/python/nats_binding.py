"""Holds what docs/nats-binding.md says against a mesh, with the client that the page shows.

Usage: nats_binding.py URL. Prints one JSON value: tasks for a look at them over another binding, and what was wrong.
"""

import asyncio
import base64
import importlib.util
import json
import pathlib
import sys

import msgpack
import nats

PATH = pathlib.Path(__file__).parents[2] / "examples/nats-binding/client.py"
SPEC = importlib.util.spec_from_file_location("client", PATH)
client = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(client)
wrong = []


def same(what, found, expected):
    if found != expected:
        wrong.append({"what": what, "found": found, "expected": expected})


def state(task):
    return task["status"]["state"].removeprefix("TASK_STATE_")


def said(*parts):
    return {"messageId": "m", "role": "ROLE_USER", "parts": list(parts)}


def acts(*acts):
    return said({"data": {"acts": list(acts)}})


async def ended(agent, task):
    """The entry that ends a task."""
    async for entry in agent.subscribe(task):
        last = entry
    return last["event"]


async def until(agent, task, wanted):
    for _ in range(200):
        now = await agent.get(task)
        if state(now) == wanted:
            return now
        await asyncio.sleep(0.05)
    raise AssertionError(f"{task} is {state(now)} and not {wanted}")


async def bodies(nc, echo):
    """Every way to write a body, and what it is read as."""
    png = b"\x89PNG\xff"
    packed = said({"raw": base64.b64encode(png).decode(), "mediaType": "image/png"})
    for content_type, body, expected in [
        ("application/a2a+json", json.dumps(said({"text": "a"})).encode(), [{"text": "a"}]),
        ("application/a2a+json", b'{"message_id":"m","role":"ROLE_USER","parts":[{"data":1}]}', [{"data": 1}]),
        ("application/msgpack", msgpack.packb(packed), packed["parts"]),
        ("application/json", b'"a"', [{"data": "a"}]),
        ("text/markdown", b"# a", [{"text": "# a", "mediaType": "text/markdown"}]),
        ("image/png", png, packed["parts"]),
        (None, b"a", [{"text": "a"}]),
        (None, b'{"n":1}', [{"data": {"n": 1}}]),
        (None, png, [{"raw": packed["parts"][0]["raw"]}]),
    ]:
        headers = {"Content-Type": content_type} if content_type else None
        ack = await echo.js.publish("weft.task.echo", body, headers=headers)
        same(f"{content_type} {body}", (await ended(echo, f"s{ack.seq}"))["output"], expected)


async def refusals(nc, echo):
    """What can be refused, and by which code."""
    probe = client.Agent(nc, "probe")
    deep = b"[" * 70 + b"]" * 70
    for what, agent, body, headers, code in [
        ("content type", echo, b"x", {"Content-Type": "model/vnd.x"}, "unsupported_content_type"),
        ("json", echo, b"{", {"Content-Type": "application/json"}, "malformed_body"),
        ("no parts", echo, b'{"parts":[]}', {"Content-Type": "application/a2a+json"}, "malformed_body"),
        ("depth", echo, deep, {"Content-Type": "application/json"}, "too_deep"),
        ("size", echo, b"x" * 262145, {}, "too_large"),
        ("headers", echo, b"x", {"X-Mine": "y" * 9000}, "too_large"),
        ("context", echo, b"x", {"Weft-Context-Id": "no/slash"}, "bad_header"),
        ("id and key", echo, b"x", {"Weft-Task-Id": "a-b", "Weft-Dedup-Key": "k"}, "bad_header"),
        ("schema", probe, b'{"sleepMs": "long"}', {}, "invalid_input"),
    ]:
        ack = await agent.js.publish(f"weft.task.{agent.skill}", body, headers=headers or None)
        end = await ended(agent, f"s{ack.seq}")
        same(what, (end["type"], end["fault"]["code"]), ("rejected", code))
    same("a call without parts", state(await echo.call(said())), "REJECTED")
    try:
        await echo.list(cursor="made up")
        wrong.append("a made up cursor was taken")
    except client.Refused as refused:
        same("a made up cursor", refused.args[0]["code"], refused.args[0]["code"])
    try:
        await nc.request("weft.query.nothing", b"", timeout=5)
        wrong.append("nobody answered")
    except nats.errors.NoRespondersError:
        pass
    try:
        await echo.get("s999999")
        wrong.append("an unknown task was found")
    except client.Refused:
        pass


async def service_parameters(nc, echo):
    """Headers that say more; the ones of A2A change nothing."""
    both = {"A2A-Version": "0.3", "A2A-Extensions": "urn:example:none"}
    called = await echo.call(said({"text": "x"}), **both, **{"Weft-Context-Id": "talk"})
    same("called", (state(called), called["contextId"]), ("COMPLETED", "talk"))
    replies = await nc.subscribe("replies.binding")
    key = {"Weft-Dedup-Key": "once", "Weft-Reply-To": "replies.binding"}
    for _ in range(2):
        await echo.send(said({"text": "once"}), **key)
    told = [json.loads((await replies.next_msg(timeout=20)).data) for _ in range(2)]
    same("the same task", told[0]["id"], told[1]["id"])
    same("its state", state(told[0]), "COMPLETED")
    named = await echo.send(said({"text": "x"}), **{"Weft-Task-Id": "mine-1"})
    same("a receipt", named[0], "s")
    same("a chosen id", (await ended(echo, "mine-1"))["type"], "completed")


async def conversation(nc, play):
    """A task that asks, is answered, and is followed by two subscribers, one of whom is away in the middle."""
    ask = acts({"act": "ask", "name": "where", "question": "Which city?"})
    task = await play.send(ask)
    asked = await until(play, task, "INPUT_REQUIRED")
    same("the question", asked["status"]["message"]["parts"], [{"text": "Which city?"}])
    seen = []
    async for entry in play.subscribe(task):
        seen.append(entry)
        if entry["event"]["type"] == "suspended":
            break
    await play.say(task, said({"text": "Ghent"}))
    await ended(play, task)
    # Everything from here on happened while nobody listened.
    rest = [entry async for entry in play.subscribe(task, after=seen[-1]["generation"])]
    whole = [entry async for entry in play.subscribe(task)]
    same("no gap and no repeat", seen + rest, whole)
    same("generations", [entry["generation"] for entry in whole], list(range(1, len(whole) + 1)))
    return await play.get(task)


async def canceling(nc, play):
    """Cancels a task at work, and one that has ended."""
    task = await play.send(acts({"act": "ask", "name": "q", "question": "?"}))
    await until(play, task, "INPUT_REQUIRED")
    await play.cancel(task)
    end = await ended(play, task)
    same("canceled", end["type"], "canceled")
    before = await play.entries(task)
    await play.cancel(task)
    await play.say(task, said({"text": "too late"}))
    dead = await nc.subscribe("weft.dead.play")
    try:
        letter = json.loads((await dead.next_msg(timeout=10)).data)
        same("too late", letter["fault"]["code"], "input_refused")
    except nats.errors.TimeoutError:
        found = await play.js.get_last_msg("WEFT_LOG", "weft.dead.play")
        same("too late", "input_refused" in found.data.decode(), True)
    same("nothing follows the end", await play.entries(task), before)
    last = await nc.request(f"$JS.API.DIRECT.GET.WEFT_LOG.weft.log.default.{task}", b"")
    same("the last entry alone", json.loads(last.data), before[-1])
    return await play.get(task)


async def main(url):
    async with await nats.connect(url) as nc:
        echo, play = client.Agent(nc, "echo"), client.Agent(nc, "play")
        await bodies(nc, echo)
        await refusals(nc, echo)
        await service_parameters(nc, echo)
        seen = {"asked": await conversation(nc, play), "canceled": await canceling(nc, play)}
        sent = await echo.send(said({"text": "hello"}), **{"Weft-Context-Id": "page"})
        await ended(echo, sent)
        seen["sent"] = await echo.get(sent)
        rows = await echo.list(contextId="page", limit=5)
        for _ in range(100):
            if rows["total"] and rows["tasks"][0]["state"] == "TASK_STATE_COMPLETED":
                break
            await asyncio.sleep(0.05)
            rows = await echo.list(contextId="page", limit=5)
        same("rows", [row["id"] for row in rows["tasks"]], [sent])
        card = await echo.card()
        same("cards", sorted(card), ["n1", "n2"])
        interface = card["n2"]["card"]["supportedInterfaces"][0]
        same("interface", interface["protocolBinding"], "urn:weft:a2a-binding:nats:v1")
        same("url", interface["url"], "nats:weft.task.echo")
        print(json.dumps(seen | {"wrong": wrong}))


asyncio.run(main(*sys.argv[1:]))
