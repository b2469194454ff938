"""A client that knows A2A's reference SDK and nothing of Weft.

Usage: a2a_stranger.py FUNCTION BINDING ADDRESS [ARGUMENT...]. BINDING is JSONRPC, HTTP+JSON or GRPC; ADDRESS is where
a gateway is, such as 127.0.0.1:8080. Prints JSON values, one a line: what the client saw.
"""

import asyncio
import http.server
import json
import sys
import threading

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientCallContext, ClientConfig, ClientFactory
from a2a.types.a2a_pb2 import (
    AuthenticationInfo,
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import A2AError
from google.protobuf import json_format

PATIENCE_SECONDS = 25
RESUME = "urn:weft:a2a:resume:v1"
PATIENT = ClientCallContext(timeout=PATIENCE_SECONDS)
ids = iter(range(1_000_000))


def whole(value):
    """JSON whose whole numbers are whole again: protobuf holds all of them as doubles."""
    if isinstance(value, dict):
        return {key: whole(member) for key, member in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(message):
    """A protobuf message as its JSON."""
    return whole(json_format.MessageToDict(message))


def say(value):
    print(json.dumps(value), flush=True)


def filled(kind, **fields):
    """A protobuf message of a kind, from its JSON."""
    return json_format.ParseDict(fields, kind())


def sent(*parts, skill=None, configuration=None, tenant="", metadata=None, **message):
    """A SendMessage request. A part is a text, or its JSON."""
    parts = [{"text": part} if isinstance(part, str) else part for part in parts]
    message = {"messageId": f"m{next(ids)}", "role": "ROLE_USER", "parts": parts} | message
    metadata = (metadata or {}) | ({"weft/skill": skill} if skill else {})
    request = {"message": message, "metadata": metadata, "configuration": configuration or {}}
    return filled(SendMessageRequest, tenant=tenant, **request)


def acts(*acts):
    """A part that tells the agent `play` what to do."""
    return {"data": {"acts": list(acts)}}


class Stranger:
    """One agent, over one binding."""

    def __init__(self, binding, address):
        self.binding, self.address = binding, address

    async def __aenter__(self):
        self.http = httpx.AsyncClient(timeout=PATIENCE_SECONDS)
        return await self.at("")

    async def __aexit__(self, *_):
        await self.http.aclose()

    async def at(self, path):
        """Finds the card below a path, and makes clients of it."""
        resolver = A2ACardResolver(self.http, f"http://{self.address}{path}")
        self.card = await resolver.get_agent_card()
        self.plain, self.streaming = self.client(False), self.client(True)
        return self

    def client(self, streaming):
        config = ClientConfig(
            streaming=streaming,
            httpx_client=self.http,
            grpc_channel_factory=grpc.aio.insecure_channel,
            supported_protocol_bindings=[self.binding],
            use_client_preference=True,
        )
        return ClientFactory(config).create(self.card)

    async def send(self, *parts, **rest):
        """Says something and waits for the task."""
        request = sent(*parts, **rest)
        async for answer in self.plain.send_message(request, context=PATIENT):
            assert answer.HasField("task"), answer
            return shown(answer.task)

    def stream(self, *parts, context=PATIENT, **rest):
        """Says something and follows the task."""
        return self.streaming.send_message(sent(*parts, **rest), context=context)

    def follow(self, task, context=PATIENT):
        request = SubscribeToTaskRequest(id=task)
        return self.streaming.subscribe(request, context=context)

    async def get(self, task, **rest):
        return shown(await self.plain.get_task(filled(GetTaskRequest, id=task, **rest)))

    async def refused(self, call):
        """What an operation says that fails."""
        try:
            await call
        except A2AError as error:
            return type(error).__name__
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__} that is no A2AError: {error}"
        return "nothing was refused"

    async def all(self, events):
        return [shown(event) async for event in events]


async def operations(stranger):
    """Every operation but those about webhooks, once."""
    send = stranger.send
    seen = {"echo": await send("hello", {"data": {"n": 1}}, skill="echo", contextId="talk")}
    task = seen["echo"]["id"]
    now = {"returnImmediately": True}
    asks = acts({"act": "ask", "name": "where", "question": "Which city?"})
    seen["immediate"] = await send(asks, skill="play", configuration=now)
    waiting = seen["immediate"]["id"]
    first = [event async for event in upto(stranger.follow(waiting), asked)]
    seen["followed"] = [shown(event) for event in first]
    histories = [await stranger.get(task, historyLength=length) for length in (0, 1, 10)]
    seen["histories"] = [len(got.get("history", [])) for got in histories]
    seen["got"] = await stranger.get(task)
    seen["streamed"] = await stranger.all(stranger.stream("hello", skill="echo"))
    seen["canceled"] = shown(await stranger.plain.cancel_task(CancelTaskRequest(id=waiting)))
    extended = await stranger.plain.get_extended_agent_card(GetExtendedAgentCardRequest())
    seen["extended"] = sorted(skill.id for skill in extended.skills)
    seen["card"] = sorted(skill.id for skill in stranger.card.skills)
    return seen


def asked(event):
    """Whether an event says that a task waits for somebody."""
    status = event.status_update.status if event.HasField("status_update") else event.task.status
    return status.state in (
        TaskState.TASK_STATE_INPUT_REQUIRED,
        TaskState.TASK_STATE_AUTH_REQUIRED,
    )


async def upto(events, wanted):
    """The events up to the first one that is wanted."""
    async for event in events:
        yield event
        if wanted(event):
            break


async def lists(stranger):
    """Pages and filters, over five tasks of one conversation."""
    context = f"pages-{stranger.binding.replace('+', '')}"
    made = [
        (await stranger.send(f"task {number}", skill="echo", contextId=context))["id"]
        for number in range(5)
    ]
    wanted = acts({"act": "ask", "name": "q", "question": "?"})
    made.append((await stranger.send(wanted, skill="play", contextId=context))["id"])

    async def page(**asked):
        request = filled(ListTasksRequest, contextId=context, **asked)
        return shown(await stranger.plain.list_tasks(request))

    # The read model follows the streams: what has just changed is not there at once.
    for _ in range(PATIENCE_SECONDS * 10):
        if (await page(status="TASK_STATE_INPUT_REQUIRED")).get("totalSize"):
            break
        await asyncio.sleep(0.1)

    def at(page):
        return [made.index(task["id"]) for task in page.get("tasks", [])]

    seen, token = {"pages": []}, ""
    while True:
        listed = await page(pageSize=2, pageToken=token)
        seen["pages"].append((at(listed), listed.get("totalSize")))
        token = listed.get("nextPageToken", "")
        if not token:
            break
    seen["waiting"] = at(await page(status="TASK_STATE_INPUT_REQUIRED"))
    seen["completed"] = at(await page(status="TASK_STATE_COMPLETED"))
    third = (await stranger.get(made[2]))["status"]["timestamp"]
    seen["since"] = at(await page(statusTimestampAfter=third))
    bare = (await page())["tasks"]
    full = (await page(includeArtifacts=True, historyLength=1))["tasks"]
    seen["bare"] = [("artifacts" in task, "history" in task) for task in bare]
    seen["full"] = [("artifacts" in task, len(task.get("history", []))) for task in full]
    return seen


async def conversation(stranger):
    """A task that asks twice, answered over the same binding; then one that asks for credentials."""
    questions = (("where", "Which city?"), ("when", "Which day?"))
    asks = [{"act": "ask", "name": name, "question": text} for name, text in questions]
    seen = {"first": await stranger.send(acts(*asks), skill="play")}
    ids = {"taskId": seen["first"]["id"]}
    seen["second"] = await stranger.send("Ghent", **ids)
    ids["contextId"] = seen["first"]["contextId"]
    seen["third"] = await stranger.send("Monday", **ids)
    return seen


async def errors(stranger):
    """The exceptions that the SDK makes of refusals."""
    send, refused, plain = stranger.send, stranger.refused, stranger.plain
    done = await send("done", skill="echo", contextId="errors")
    unknown = "s999999999"

    async def followed(task):
        return await stranger.all(stranger.follow(task))

    def listing(**asked):
        return plain.list_tasks(filled(ListTasksRequest, **asked))

    waits = acts({"act": "ask", "name": "q", "question": "?"})
    waiting = await send(waits, skill="play")
    both = {"taskId": waiting["id"], "contextId": "another"}
    calls = {
        "get unknown": stranger.get(unknown),
        "get a foreign tenant's": stranger.get(done["id"], tenant="acme"),
        "cancel unknown": plain.cancel_task(CancelTaskRequest(id=unknown)),
        "cancel ended": plain.cancel_task(CancelTaskRequest(id=done["id"])),
        "follow unknown": followed(unknown),
        "follow ended": followed(done["id"]),
        "say to unknown": send("x", taskId=unknown),
        "say to ended": send("x", taskId=done["id"]),
        "say in another context": send("x", **both),
        "no parts": send(skill="echo"),
        "no message id": send("x", skill="echo", messageId=""),
        "a part of nothing": send({}, skill="echo"),
        "a bad context": send("x", skill="echo", contextId="no/slash"),
        "a skill of nobody": send("x", skill="nobody"),
        "a negative history": stranger.get(done["id"], historyLength=-1),
        "a page of nothing": listing(pageSize=0),
        "a page of too many": listing(pageSize=101),
        "a made up token": listing(pageToken="made up"),
        "a bad tenant": stranger.get(done["id"], tenant="no.dots"),
    }
    return {what: await refused(call) for what, call in calls.items()}


async def tenants(stranger):
    """Another owner's task, and an agent named by the tenant."""
    mine = await stranger.send("mine", tenant="acme", skill="echo")
    got = await stranger.get(mine["id"], tenant="acme")
    named = await stranger.send("named", tenant="~echo")
    listed = []
    while mine["id"] not in listed:
        page = await stranger.plain.list_tasks(ListTasksRequest(tenant="acme"))
        listed = [task.id for task in page.tasks]
    return {
        "got": got["status"]["state"],
        "named": named["metadata"]["weft/skill"],
    }


async def agents(stranger):
    """Agents at addresses of their own."""
    seen = {}
    for name in ("echo", "play"):
        await stranger.at(f"/agents/{name}")
        task = await stranger.send(acts() if name == "play" else "hello")
        seen[name] = [task["metadata"]["weft/skill"], [skill.id for skill in stranger.card.skills]]
    return seen


async def parts(stranger):
    """Every kind of part, there and back."""
    sent = [
        {"text": "caf\u00e9"},
        {"raw": "AP8=", "mediaType": "application/octet-stream", "filename": "a.bin"},
        {"url": "https://example.org/x", "mediaType": "text/html"},
        {"data": {"n": [1, 2.5, None, True, {"deep": []}]}, "metadata": {"k": "v"}},
    ]
    task = await stranger.send(*sent, skill="echo")
    return {"sent": sent, "history": task["history"][0]["parts"], "artifacts": task["artifacts"]}


class Receiver(http.server.BaseHTTPRequestHandler):
    """A webhook."""

    heard, came = [], threading.Condition()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = {"body": body, "headers": {k.lower(): v for k, v in self.headers.items()}}
        with self.came:
            self.heard.append(told)
            self.came.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


async def push(stranger):
    """Webhooks: made, found, listed, taken away, called, and one that came with the message."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    plain, waits = stranger.plain, acts({"act": "ask", "name": "q", "question": "?"})
    task = (await stranger.send(waits, skill="play"))["id"]
    login = AuthenticationInfo(scheme="Bearer", credentials="secret")
    config = TaskPushNotificationConfig(
        task_id=task, id="one", url=url, token="t1", authentication=login
    )
    one = await plain.create_task_push_notification_config(config)
    unnamed = TaskPushNotificationConfig(task_id=task, url=url)
    two = await plain.create_task_push_notification_config(unnamed)
    query = {"task_id": task, "id": "one"}
    got = await plain.get_task_push_notification_config(
        GetTaskPushNotificationConfigRequest(**query)
    )
    of_task = ListTaskPushNotificationConfigsRequest(task_id=task)
    listed = await plain.list_task_push_notification_configs(of_task)
    gone = DeleteTaskPushNotificationConfigRequest(task_id=task, id=two.id)
    for _ in range(2):
        await plain.delete_task_push_notification_config(gone)
    left = await plain.list_task_push_notification_configs(of_task)
    missing = GetTaskPushNotificationConfigRequest(task_id=task, id="nothing")
    refused = await stranger.refused(plain.get_task_push_notification_config(missing))
    await stranger.send("now", taskId=task)
    inline = {"taskPushNotificationConfig": {"url": url, "token": "inline"}}
    other = (await stranger.send("x", skill="echo", configuration=inline))["id"]

    def told(task):
        updates = [one["body"].get("statusUpdate", {}) for one in Receiver.heard]
        mine = [one for one in updates if one.get("taskId") == task]
        return any(one["status"]["state"] == "TASK_STATE_COMPLETED" for one in mine)

    def wait():
        with Receiver.came:
            return Receiver.came.wait_for(lambda: told(task) and told(other), PATIENCE_SECONDS)

    complete = await asyncio.to_thread(wait)
    headers = [one["headers"] for one in Receiver.heard]
    return {
        "one": [one.id, one.url == url, one.token, one.authentication.scheme, got.url == url],
        "unnamed": bool(two.id),
        "listed": sorted(config.id for config in listed.configs) == sorted(["one", two.id]),
        "left": [config.id for config in left.configs],
        "refused": refused,
        "complete": complete,
        "tokens": sorted({one.get("x-a2a-notification-token", "") for one in headers}),
        "logins": sorted({one.get("authorization", "") for one in headers}),
    }


async def blocking(stranger, *acts_):
    """Waits for a task that something happens to."""
    say({"ready": True})
    say(await stranger.send(acts(*map(json.loads, acts_)), skill="play"))


async def streaming(stranger, *acts_):
    """Follows a task that something happens to."""
    say({"ready": True})
    say(await stranger.all(stranger.stream(acts(*map(json.loads, acts_)), skill="play")))


async def cursored(stranger, request, last=None):
    """The events of a send, or of a task behind a cursor, each with its own cursor.

    The SDK hides the ids of server-sent events, so that the JSON bindings are read without it.
    """
    service = {"A2A-Extensions": RESUME} | ({"Last-Event-ID": last} if last else {})
    following = isinstance(request, SubscribeToTaskRequest)
    if stranger.binding == "GRPC":
        service = {name.lower(): value for name, value in service.items()}
        context = ClientCallContext(timeout=PATIENCE_SECONDS, service_parameters=service)
        call = stranger.streaming.subscribe if following else stranger.streaming.send_message
        async for event in call(request, context=context):
            event = shown(event)
            yield next(iter(event.values()))["metadata"].pop("weft/cursor"), event
        return
    base = f"http://{stranger.address}"
    if stranger.binding == "JSONRPC":
        method = "SubscribeToTask" if following else "SendStreamingMessage"
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": shown(request)}
        call = ("POST", base, body)
    elif following:
        call = ("GET", f"{base}/tasks/{request.id}:subscribe", None)
    else:
        call = ("POST", f"{base}/message:stream", shown(request))
    method, url, body = call
    headers = service | {"A2A-Version": "1.0"}
    async with stranger.http.stream(method, url, json=body, headers=headers) as response:
        response.raise_for_status()
        cursor = None
        async for line in response.aiter_lines():
            if line.startswith("id:"):
                cursor = line[3:].strip()
            elif line.startswith("data:"):
                event = json.loads(line[5:])
                yield cursor, event.get("result", event)


async def elsewhere(stranger, second):
    """Loses its gateway in the middle of a stream, and goes on at a second one: anew, and behind the last event."""
    asks = [{"act": "ask", "name": name, "question": name} for name in ("one", "two")]
    before = []
    try:
        async for cursor, event in cursored(stranger, sent(acts(*asks), skill="play")):
            before.append((cursor, event))
            state = event.get("statusUpdate", {}).get("status", {}).get("state")
            if state == "TASK_STATE_INPUT_REQUIRED":
                say({"asked": True})
    except (A2AError, httpx.HTTPError, grpc.RpcError) as error:
        say({"broken": type(error).__name__})
    else:
        say({"broken": None})
    task = SubscribeToTaskRequest(id=before[0][1]["task"]["id"])

    async with Stranger(stranger.binding, second) as other:

        async def behind(cursor):
            return [one async for one in cursored(other, task, cursor)]

        anew = asyncio.create_task(other.all(other.follow(task.id)))
        rest = asyncio.create_task(behind(before[-1][0]))
        whole = asyncio.create_task(behind(before[0][0]))
        for text in ("first", "second"):
            answered = await other.send(text, taskId=task.id)
        seen = {"before": before, "answered": answered, "anew": await anew}
        say(seen | {"rest": await rest, "whole": await whole})


REPORTS = (operations, lists, conversation, errors, tenants, agents, parts, push)
PERFORMANCES = (blocking, streaming, elsewhere)


async def main():
    name, binding, address, *rest = sys.argv[1:]
    async with Stranger(binding, address) as stranger:
        functions = {one.__name__: one for one in REPORTS + PERFORMANCES}
        seen = await functions[name](stranger, *rest)
        if functions[name] in REPORTS:
            say(seen)


asyncio.run(main())
