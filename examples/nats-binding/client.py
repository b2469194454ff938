"""A2A over NATS: each operation of docs/nats-binding.md, with nats-py and nothing of Weft.

    pip install nats-py==2.16.0
    python3 client.py nats://127.0.0.1:4222
"""

import asyncio
import contextlib
import json
import sys

import nats

PATIENCE_SECONDS = 30
ENDS = {"completed": "COMPLETED", "failed": "FAILED", "canceled": "CANCELED", "rejected": "REJECTED"}
HEADERS = {"Content-Type": "application/a2a+json", "A2A-Version": "1.0"}


class Refused(Exception):
    """An operation that was answered with a fault."""


class Agent:
    """One skill of a mesh, as one owner uses it."""

    def __init__(self, nc, skill, owner="default"):
        self.nc, self.js, self.skill, self.owner = nc, nc.jetstream(), skill, owner

    async def send(self, message, **headers):
        """SendMessage that does not wait: the acknowledgement is the receipt."""
        subject = f"weft.task.{self.skill}.{self.owner}"
        ack = await self.js.publish(subject, json.dumps(message).encode(), headers=HEADERS | headers)
        return f"s{ack.seq}"

    async def call(self, message, **headers):
        """SendMessage that waits: the answer is the Task (of the default owner)."""
        subject, body = f"weft.call.{self.skill}", json.dumps(message).encode()
        answer = await self.nc.request(subject, body, timeout=PATIENCE_SECONDS, headers=HEADERS | headers)
        task = json.loads(answer.data)
        if "error" in task:
            raise Refused(task["error"])
        return task

    async def say(self, task, message):
        """SendMessage to a task that exists."""
        subject = f"weft.input.{self.owner}.{task}"
        await self.js.publish(subject, json.dumps(message).encode(), headers=HEADERS)

    async def read(self, stream, **want):
        """Stored messages, in order: a batched direct get."""
        inbox = self.nc.new_inbox()
        answers = await self.nc.subscribe(inbox)
        await self.nc.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(want).encode(), reply=inbox)
        found = []
        try:
            while True:
                answer = await answers.next_msg(timeout=PATIENCE_SECONDS)
                if answer.headers.get("Status") in ("204", "404"):
                    return found
                found.append(answer)
        finally:
            await answers.unsubscribe()

    async def entries(self, task):
        """The entries of a task's log."""
        subject, found, last = f"weft.log.{self.owner}.{task}", [], 0
        while batch := await self.read("WEFT_LOG", next_by_subj=subject, seq=last + 1, batch=256):
            last = int(batch[-1].headers["Nats-Sequence"])
            found += [json.loads(one.data) for one in batch]
        return found

    async def get(self, task):
        """GetTask: the Task that a log stands for, as far as a client needs it."""
        entries = await self.entries(task)
        state, status, artifacts, origin = "SUBMITTED", None, {}, {}
        for entry in entries:
            event = entry["event"]
            origin = entry.get("origin") or origin
            state = ENDS.get(event["type"], "WORKING")
            status = event.get("message", status) if event["type"] == "status" else status
            if event["type"] == "suspended":
                waiting = event["waitingFor"]
                asks = "AUTH_REQUIRED" if waiting.get("auth") else "INPUT_REQUIRED"
                state = asks if waiting["kind"] in ("input", "approval") else "WORKING"
                status = waiting.get("question", status)
            if event["type"] == "artifact":
                one = event["artifact"]
                before = artifacts.get(one["artifactId"], {}).get("parts", []) if event.get("append") else []
                artifacts[one["artifactId"]] = one | {"parts": before + one["parts"]}
            if event["type"] == "completed":
                artifacts["result"] = {"artifactId": "result", "parts": event["output"]}
        if not entries and not await self.submission(task):
            raise Refused({"code": "task_not_found", "message": task})
        return {
            "id": task,
            "contextId": origin.get("contextId") or task,
            "status": {"state": f"TASK_STATE_{state}", "message": status},
            "artifacts": list(artifacts.values()),
        }

    async def submission(self, task):
        """The message that a task without a log was submitted with."""
        with contextlib.suppress(nats.js.errors.NotFoundError, ValueError):
            message = await self.js.get_msg("WEFT_INBOX", int(task.removeprefix("s")), direct=True)
            mine = f"weft.task.{self.skill}.{self.owner}"
            return message if message.subject in (mine, mine.removesuffix(".default")) else None
        return None

    async def list(self, **query):
        """ListTasks: rows of the read model that a coordinator keeps."""
        body = json.dumps({"owner": self.owner, "skill": self.skill} | query).encode()
        answer = json.loads((await self.nc.request("weft.query.tasks", body, timeout=PATIENCE_SECONDS)).data)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    async def cancel(self, task):
        """CancelTask: stored, and carried out by whoever has the task."""
        headers = None if await self.entries(task) else {"Weft-Source": task.removeprefix("s")}
        await self.js.publish(f"weft.cancel.{self.owner}.{task}", b"", headers=headers)

    async def subscribe(self, task, after=0):
        """SubscribeToTask: every entry once and in order, from a generation on, until the task ends."""
        events = await self.nc.subscribe(f"weft.event.{self.owner}.{task}")
        await self.nc.flush()
        try:
            while True:
                # What an interrupted connection has missed stands in the log.
                for entry in await self.entries(task):
                    if entry["generation"] > after:
                        after = entry["generation"]
                        yield entry
                        if entry["event"]["type"] in ENDS:
                            return
                with contextlib.suppress(asyncio.TimeoutError, nats.errors.TimeoutError):
                    await events.next_msg(timeout=2)
        finally:
            await events.unsubscribe()

    async def card(self):
        """GetExtendedAgentCard: what each node says about the skill."""
        keys = f"$KV.weft_agents.{self.skill}.*"
        stored = await self.read("KV_weft_agents", multi_last=[keys])
        there = [one for one in stored if one.data]
        return {json.loads(one.data)["node"]: json.loads(one.data) for one in there}


def message(text):
    return {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": text}]}


async def main(url):
    async with await nats.connect(url) as nc:
        echo = Agent(nc, "echo")
        task = await echo.send(message("hello"))
        kinds = [entry["event"]["type"] async for entry in echo.subscribe(task)]
        print(json.dumps({
            "entries": kinds,
            "got": await echo.get(task),
            "called": await echo.call(message("again")),
            "listed": len((await echo.list(limit=10))["tasks"]),
            "card": {node: one["card"]["name"] for node, one in (await echo.card()).items()},
        }))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
