"""What A2A 1.0 demands of a server, one function a demand, where the SDK's client hides whether it is kept.

Usage: a2a_conformance.py ADDRESS. The gateway there has an agent `conform` as its default skill, which behaves as the
beginning of a message's id asks. Prints what is not kept, as a JSON object from demand to reason.
"""

import asyncio
import json
import re
import sys
import uuid

import grpc
import httpx
from a2a.types import a2a_pb2, a2a_pb2_grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

PATIENCE_SECONDS = 25
VERSION = {"A2A-Version": "1.0"}
METHODS = {
    "send": ("SendMessage", "POST", "/message:send"),
    "stream": ("SendStreamingMessage", "POST", "/message:stream"),
    "get": ("GetTask", "GET", "/tasks/{id}"),
    "list": ("ListTasks", "GET", "/tasks"),
    "cancel": ("CancelTask", "POST", "/tasks/{id}:cancel"),
    "subscribe": ("SubscribeToTask", "POST", "/tasks/{id}:subscribe"),
    "create_push": (
        "CreateTaskPushNotificationConfig",
        "POST",
        "/tasks/{taskId}/pushNotificationConfigs",
    ),
}
ENDED = ("COMPLETED", "FAILED", "CANCELED", "REJECTED")
DEMANDS = []


class Refused(Exception):
    """An error in any binding, in the words of all."""

    def __init__(self, reason, domain, code, headers=None):
        super().__init__(reason)
        self.reason, self.domain, self.code, self.headers = reason, domain, code, headers


def demand(function):
    """Adds a demand that is checked once."""
    DEMANDS.append((function.__name__, function, None))
    return function


def in_each(function):
    """Adds a demand that is checked in each binding."""
    for binding in (JsonRpc, Rest, Grpc):
        DEMANDS.append((f"{function.__name__} ({binding.__name__})", function, binding))
    return function


def message(play, *parts, **rest):
    """A message that asks the agent to play something."""
    parts = list(parts) or [{"text": "hello"}]
    made = {"messageId": f"tck-{play}-{uuid.uuid4()}", "role": "ROLE_USER", "parts": parts}
    return {"message": made | rest}


def state(task):
    return task["status"]["state"].removeprefix("TASK_STATE_")


def info(details):
    """The one ErrorInfo among an error's details."""
    found = [one for one in details if one["@type"].endswith("/google.rpc.ErrorInfo")]
    assert len(found) == 1, details
    return found[0]


class JsonRpc:
    def __init__(self, address, http):
        self.http, self.url = http, f"http://{address}/"

    def body(self, operation, request):
        name = METHODS[operation][0]
        return {"jsonrpc": "2.0", "id": "one", "method": name, "params": request}

    async def call(self, operation, request, headers=VERSION):
        answer = await self.http.post(self.url, json=self.body(operation, request), headers=headers)
        assert "application/json" in answer.headers["content-type"], answer.headers
        return self.result(answer.json(), answer.headers)

    def result(self, answer, headers=None):
        assert answer["jsonrpc"] == "2.0" and answer["id"] == "one", answer
        assert ("error" in answer) != ("result" in answer), answer
        if "error" in answer:
            error = answer["error"]
            assert set(error) <= {"code", "message", "data"}, error
            told = info(error["data"])
            raise Refused(told["reason"], told["domain"], error["code"], headers)
        return answer["result"]

    async def events(self, operation, request):
        body = self.body(operation, request)
        stream = self.http.stream("POST", self.url, json=body, headers=VERSION)
        async with stream as response:
            async for event in server_sent(response):
                yield self.result(event)


class Rest:
    def __init__(self, address, http):
        self.http, self.base = http, f"http://{address}"

    def request(self, operation, request):
        _, method, path = METHODS[operation]
        url = self.base + path.format(**request)
        rest = {key: value for key, value in request.items() if f"{{{key}}}" not in path}
        return (method, url), {"params": rest} if method == "GET" else {"json": rest}

    async def call(self, operation, request, headers=VERSION):
        where, what = self.request(operation, request)
        answer = await self.http.request(*where, **what, headers=headers)
        self.check(answer)
        return answer.json()

    def check(self, answer):
        assert answer.headers["content-type"].startswith("application/a2a+json"), answer.headers
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert error["code"] == answer.status_code, error
            assert isinstance(error["message"], str) and isinstance(error["status"], str), error
            told = info(error["details"])
            raise Refused(told["reason"], told["domain"], answer.status_code, answer.headers)

    async def events(self, operation, request):
        where, what = self.request(operation, request)
        async with self.http.stream(*where, **what, headers=VERSION) as response:
            if response.status_code >= 400:
                await response.aread()
                self.check(response)
            async for event in server_sent(response):
                yield event


async def server_sent(response):
    if "text/event-stream" not in response.headers["content-type"]:
        yield json.loads(await response.aread())
        return
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line[5:])


class Grpc:
    def __init__(self, address, http):
        self.stub = a2a_pb2_grpc.A2AServiceStub(grpc.aio.insecure_channel(address))

    def prepare(self, operation, request, headers):
        name = METHODS[operation][0]
        kind = {"stream": "SendMessage"}.get(operation, name) + "Request"
        kind = "TaskPushNotificationConfig" if operation == "create_push" else kind
        wire = json_format.ParseDict(request, getattr(a2a_pb2, kind)())
        metadata = [(key.lower(), value) for key, value in headers.items()]
        return getattr(self.stub, name)(wire, metadata=metadata, timeout=PATIENCE_SECONDS)

    async def call(self, operation, request, headers=VERSION):
        try:
            answer = await self.prepare(operation, request, headers)
        except grpc.aio.AioRpcError as error:
            raise self.refused(error) from error
        return json_format.MessageToDict(answer, always_print_fields_with_no_presence=True)

    def refused(self, error):
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        assert details is not None, error
        status = status_pb2.Status.FromString(details)
        assert (status.code, status.message) == (error.code().value[0], error.details()), error
        told = error_details_pb2.ErrorInfo()
        assert [one for one in status.details if one.Unpack(told)], status
        return Refused(told.reason, told.domain, error.code().name)

    async def events(self, operation, request):
        try:
            async for event in self.prepare(operation, request, VERSION):
                yield json_format.MessageToDict(event)
        except grpc.aio.AioRpcError as error:
            raise self.refused(error) from error


async def refused(reason, code, call):
    """Checks that a call is refused for this reason. `code` names the binding's codes in the order of the bindings."""
    try:
        answer = await call
    except Refused as refusal:
        assert refusal.reason == reason, f"{refusal.reason} instead of {reason}"
        assert refusal.domain == "a2a-protocol.org", refusal.domain
        assert refusal.code in code, f"{refusal.code} instead of one of {code}"
        return refusal
    raise AssertionError(f"no {reason} but {answer}")


NOT_FOUND = ("TASK_NOT_FOUND", (-32001, 404, "NOT_FOUND"))
NOT_CANCELABLE = ("TASK_NOT_CANCELABLE", (-32002, 400, "FAILED_PRECONDITION"))
UNSUPPORTED = ("UNSUPPORTED_OPERATION", (-32004, 400, "FAILED_PRECONDITION"))
CONTENT_TYPE = ("CONTENT_TYPE_NOT_SUPPORTED", (-32005, 400, "INVALID_ARGUMENT"))
VERSION_REFUSED = ("VERSION_NOT_SUPPORTED", (-32009, 400, "FAILED_PRECONDITION"))
PARAMS = ("INVALID_PARAMS", (-32602, 400, "INVALID_ARGUMENT"))


async def first(events):
    async for event in events:
        return event


async def all_of(events):
    return [event async for event in events]


async def ended(binding):
    return (await binding.call("send", message("complete-task")))["task"]


async def waiting(binding):
    task = (await binding.call("send", message("input-required")))["task"]
    assert state(task) == "INPUT_REQUIRED", task
    return task


@in_each
async def a_blocking_send_waits_for_the_end(binding):
    task = (await binding.call("send", message("delayed-complete")))["task"]
    assert state(task) == "COMPLETED", task


@in_each
async def a_send_that_does_not_wait_returns_at_once(binding):
    configuration = {"configuration": {"returnImmediately": True}}
    task = (await binding.call("send", message("delayed-complete") | configuration))["task"]
    assert state(task) not in ENDED, task


@in_each
async def interruptions_end_the_wait(binding):
    task = (await binding.call("send", message("auth-required")))["task"]
    got = await binding.call("get", {"id": task["id"]})
    assert state(task) == state(got) == "AUTH_REQUIRED", task
    task = await waiting(binding)
    follow_up = message("complete-task", taskId=task["id"])
    after = (await binding.call("send", follow_up))["task"]
    assert state(after) == "COMPLETED" and after["contextId"] == task["contextId"], after


@in_each
async def ends_have_their_states(binding):
    for play, expected in (("reject-task", "REJECTED"), ("fail", "FAILED")):
        task = (await binding.call("send", message(play)))["task"]
        assert state(task) == expected, task


@in_each
async def artifacts_have_their_parts(binding):
    named = {"filename": "output.txt", "mediaType": "text/plain"}
    for play, part in (
        ("artifact-text", {"text": "Generated text content"}),
        ("artifact-file", {"raw": "dGNr"} | named),
        ("artifact-file-url", {"url": "https://example.com/output.txt"} | named),
        ("artifact-data", {"data": {"key": "value", "count": 42}}),
    ):
        task = (await binding.call("send", message(play)))["task"]
        found = task["artifacts"][0]["parts"][0]
        assert {key: value for key, value in found.items() if value} == part, found


@in_each
async def chunks_come_in_order_and_then_the_end(binding):
    events = await all_of(binding.events("stream", message("stream-artifact-chunked")))
    assert "task" in events[0], events
    chunks = [event["artifactUpdate"] for event in events if "artifactUpdate" in event]
    chunks = [one for one in chunks if one["artifact"]["artifactId"] == "chunked"]
    told = [(one.get("append", False), one.get("lastChunk", False)) for one in chunks]
    assert told == [(False, False), (True, True)], chunks
    assert state(events[-1]["statusUpdate"]) == "COMPLETED", events
    task = await binding.call("get", {"id": events[0]["task"]["id"]})
    text = [part["text"] for part in task["artifacts"][0]["parts"]]
    assert text == ["chunk-1 ", "chunk-2"], task


@in_each
async def a_direct_reply_is_a_message_and_a_stream_of_one(binding):
    context = f"reply-{uuid.uuid4()}"
    for play in ("message-response", "stream-002"):
        asked = message(play, contextId=context)
        sent = await binding.call("send", asked)
        streamed = await all_of(binding.events("stream", asked))
        assert not sent.get("task") and len(streamed) == 1, (sent, streamed)
        for reply in (sent["message"], streamed[0]["message"]):
            assert reply["messageId"] and reply["role"] == "ROLE_AGENT", reply
            assert reply["contextId"] == context and not reply.get("taskId"), reply
            [part] = reply["parts"]
            assert part["text"] == "Direct message response" and not part.get("metadata"), part
    task = await binding.call("get", {"id": reply["metadata"]["weft/task"]})
    assert state(task) == "COMPLETED" and task["contextId"] == context, task
    at_once = asked | {"configuration": {"returnImmediately": True}}
    assert (await binding.call("send", at_once))["task"]["id"], "who does not wait gets the task"
    events = await all_of(binding.events("stream", message("stream-001")))
    assert "task" in events[0] and state(events[-1]["statusUpdate"]) == "COMPLETED", events


@in_each
async def every_subscriber_hears_the_same(binding):
    task = await waiting(binding)
    subscribe = {"id": task["id"]}
    left = binding.events("subscribe", subscribe)
    assert "task" in await anext(left)
    streams = [binding.events("subscribe", subscribe) for _ in range(3)]
    begun = [await anext(stream) for stream in streams]
    await left.aclose()
    await binding.call("send", message("complete-task", taskId=task["id"]))
    heard = [[one, *await all_of(stream)] for one, stream in zip(begun, streams)]
    assert heard[0] == heard[1] == heard[2], heard
    assert state(heard[0][0]["task"]) == "INPUT_REQUIRED", heard
    assert state(heard[0][-1]["statusUpdate"]) == "COMPLETED", heard


@in_each
async def what_has_ended_is_over(binding):
    task = await ended(binding)
    again = message("complete-task", taskId=task["id"])
    await refused(*UNSUPPORTED, binding.call("send", again))
    await refused(*UNSUPPORTED, first(binding.events("subscribe", {"id": task["id"]})))
    await refused(*NOT_CANCELABLE, binding.call("cancel", {"id": task["id"]}))


@in_each
async def what_nobody_knows_is_not_found(binding):
    for operation in ("get", "cancel"):
        await refused(*NOT_FOUND, binding.call(operation, {"id": "tck-nonexistent"}))
    await refused(*NOT_FOUND, first(binding.events("subscribe", {"id": "tck-nonexistent"})))
    unknown = message("complete-task", taskId="tck-nonexistent")
    await refused(*NOT_FOUND, binding.call("send", unknown))


@in_each
async def contexts_are_kept_or_refused(binding):
    task = (await binding.call("send", message("complete-task", contextId="tck-c_1")))["task"]
    assert task["contextId"] == "tck-c_1", task
    assert (await ended(binding))["contextId"], "a context of the server's own is told"
    task = await waiting(binding)
    other = message("complete-task", taskId=task["id"], contextId="another")
    await refused(*PARAMS, binding.call("send", other))
    bad = message("complete-task", contextId="no blank")
    await refused(*PARAMS, binding.call("send", bad))


@in_each
async def a_media_type_that_nobody_reads_is_refused(binding):
    part = {"raw": "dGNr", "mediaType": "application/x-unsupported-tck-type"}
    await refused(*CONTENT_TYPE, binding.call("send", message("complete-task", part)))


@in_each
async def missing_fields_are_named(binding):
    await refused(*PARAMS, binding.call("send", {}))
    await refused(*PARAMS, binding.call("send", {"message": {"messageId": "m"}}))


@in_each
async def versions_are_negotiated(binding):
    request = message("complete-task")
    for version in ("99.0", "0.3", ""):
        headers = {"A2A-Version": version}
        await refused(*VERSION_REFUSED, binding.call("send", request, headers))
    await refused(*VERSION_REFUSED, binding.call("send", request, {}))
    task = await binding.call("send", request, {"A2A-Version": "1.0.1"})
    assert state(task["task"]) == "COMPLETED", task


@in_each
async def unknown_extensions_do_no_harm(binding):
    named = "https://example.com/ext/v1,https://example.com/ext/v2"
    headers = VERSION | {"A2A-Extensions": named}
    task = await binding.call("send", message("complete-task"), headers)
    assert state(task["task"]) == "COMPLETED", task


@in_each
async def histories_are_as_long_as_asked_for(binding):
    task = await waiting(binding)
    request = message("complete-task", taskId=task["id"])
    sent = await binding.call("send", request | {"configuration": {"historyLength": 0}})
    assert not sent["task"].get("history"), sent
    got = await binding.call("get", {"id": task["id"], "historyLength": 1})
    assert len(got["history"]) == 1, got
    whole = (await binding.call("get", {"id": task["id"]}))["history"]
    assert [one["role"] for one in whole] == ["ROLE_USER", "ROLE_AGENT", "ROLE_USER"], whole
    assert whole[2]["messageId"] == request["message"]["messageId"], whole
    assert got["history"][0] == whole[2], got
    none = await binding.call("get", {"id": task["id"], "historyLength": 0})
    assert not none.get("history"), none


@in_each
async def lists_are_whole(binding):
    context = f"list-{uuid.uuid4()}"
    made = []
    for _ in range(3):
        request = message("complete-task", contextId=context)
        made.append((await binding.call("send", request))["task"]["id"])
    page = {}
    while page.get("totalSize") != 3:  # lists follow what has happened
        page = await binding.call("list", {"contextId": context, "pageSize": 2})
    assert [task["id"] for task in page["tasks"]] == [made[2], made[1]], page
    assert page["pageSize"] == 2 and page["nextPageToken"], page
    assert not any(task.get("artifacts") for task in page["tasks"]), page
    request = {"contextId": context, "pageSize": 2, "pageToken": page["nextPageToken"]}
    last = await binding.call("list", request)
    assert [task["id"] for task in last["tasks"]] == [made[0]], last
    assert last["nextPageToken"] == "", last
    empty = await binding.call("list", {"contextId": "nothing-here"})
    assert (empty["tasks"], empty["nextPageToken"], empty["totalSize"]) == ([], "", 0), empty


@in_each
async def a_webhook_can_be_added_to_what_has_ended(binding):
    task = await ended(binding)
    config = {"taskId": task["id"], "id": "tck-push", "url": "https://example.com/tck-webhook"}
    made = await binding.call("create_push", config)
    assert (made["id"], made["url"]) == ("tck-push", config["url"]), made


def names(value):
    """The names of all members, those of anybody's metadata left out."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield key
            if key != "metadata":
                yield from names(member)
    elif isinstance(value, list):
        for item in value:
            yield from names(item)


@demand
async def json_is_protojson(rpc, _):
    events = await all_of(rpc.events("stream", message("complete-task")))
    task = await waiting(rpc)
    for answer in (*events, task):
        snake = [name for name in names(answer) if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)]
        assert not snake, snake
    stamp = task["status"]["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp), stamp


@demand
async def unknown_fields_are_ignored_and_snake_case_is_read(rpc, rest):
    for binding in (rpc, rest):
        request = message("complete-task", tckUnknown="x") | {"tckExtra": 42}
        request["message"]["message_id"] = request["message"].pop("messageId")
        request["configuration"] = {"history_length": 0}
        task = (await binding.call("send", request))["task"]
        assert state(task) == "COMPLETED" and not task.get("history"), task


@demand
async def enums_are_read_by_name_and_by_number(rpc, rest):
    for binding in (rpc, rest):
        task = (await binding.call("send", message("complete-task", role=1)))["task"]
        assert task["history"][0]["role"] == "ROLE_USER", task
        for wrong in (0, 2, 9, "ROLE_UNSPECIFIED"):
            await refused(*PARAMS, binding.call("send", message("complete-task", role=wrong)))
        for status in (3, "TASK_STATE_COMPLETED"):
            listed = await binding.call("list", {"status": status})
            assert {state(task) for task in listed["tasks"]} <= {"COMPLETED"}, listed


@demand
async def another_content_type_is_refused(rpc, rest):
    request = message("complete-task")
    plain = VERSION | {"Content-Type": "text/plain"}
    body = json.dumps(rpc.body("send", request)).encode()
    answer = (await rpc.http.post(rpc.url, content=body, headers=plain)).json()
    assert answer["error"]["code"] == -32005, answer
    body = json.dumps(request).encode()
    url = f"{rest.base}/message:send"
    answer = await rest.http.post(url, content=body, headers=plain)
    assert answer.status_code == 400, answer
    assert info(answer.json()["error"]["details"])["reason"] == CONTENT_TYPE[0], answer.text


@demand
async def jsonrpc_has_its_own_errors(rpc, _):
    async def code(body):
        answer = await rpc.http.post(rpc.url, content=body, headers=VERSION | JSON)
        return answer.json()["error"]["code"]

    assert await code(b"{") == -32700
    assert await code(b"[]") == -32600
    assert await code(b'{"jsonrpc": "1.0", "id": 1, "method": "GetTask"}') == -32600
    assert await code(b'{"jsonrpc": "2.0", "id": 1, "method": "NoSuch", "params": {}}') == -32601
    assert await code(b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {}}') == -32602


JSON = {"Content-Type": "application/json"}


@demand
async def grpc_blames_the_client_for_garbage(rpc, _):
    channel = grpc.aio.insecure_channel(rpc.url.removeprefix("http://").removesuffix("/"))
    service = "/lf.a2a.v1.A2AService/"
    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    for method, body, expected in (
        (f"{service}GetTask", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (f"{service}SendMessage", b"x" * (17 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (f"{service}NoSuch", b"", unimplemented),
        ("/grpc.health.v1.Health/Check", b"", unimplemented),
    ):
        try:
            await channel.unary_unary(method)(body, metadata=(("a2a-version", "1.0"),))
        except grpc.aio.AioRpcError as error:
            assert error.code() == expected, (method, error)
        else:
            raise AssertionError(f"{method} takes everything")
    await channel.close()


@demand
async def the_card_is_there_with_all_that_it_needs(rpc, _):
    answer = await rpc.http.get(f"{rpc.url}.well-known/agent-card.json")
    assert answer.status_code == 200 and "max-age" in answer.headers["cache-control"]
    assert answer.headers["etag"], answer.headers
    card = answer.json()
    for field in (
        "name",
        "description",
        "version",
        "supportedInterfaces",
        "capabilities",
        "defaultInputModes",
        "defaultOutputModes",
        "skills",
    ):
        assert card.get(field), field
    bindings = {one["protocolBinding"]: one for one in card["supportedInterfaces"]}
    assert {"JSONRPC", "HTTP+JSON", "GRPC"} <= set(bindings), bindings
    assert all(one["protocolVersion"] == "1.0" and one["url"] for one in bindings.values()), card
    cached = {"If-None-Match": answer.headers["etag"]}
    again = await rpc.http.get(f"{rpc.url}.well-known/agent-card.json", headers=cached)
    assert again.status_code == 304, again


async def main():
    address = sys.argv[1]
    broken = {}
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        for name, check, binding in DEMANDS:
            bindings = [binding] if binding else [JsonRpc, Rest]
            try:
                await check(*(one(address, http) for one in bindings))
            except Exception as error:  # noqa: BLE001
                broken[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"broken": broken, "checked": len(DEMANDS)}))


asyncio.run(main())
