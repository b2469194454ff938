"""Write a Weft agent in Python. One file, no dependencies, Python 3.8 or later.

    from weft_agent import serve

    def shout(input, ctx):
        ctx.status("shouting")
        return input.upper()

    serve(shout)

`serve` speaks JSON lines with the node over standard input and output, one task at a time. What the
function prints goes to standard error. It may raise `Transient` or `Permanent`; connection errors and
timeouts count as transient, every other exception as permanent.

What has to survive a crash goes through the context: `ctx.step`, `ctx.call`, `ctx.delegate`, `ctx.sleep`,
`ctx.ask`, `ctx.signal`, `ctx.approve`. While such a call waits, the task holds no program; when it goes on, the
function runs again from the start, and calls that were made before return at once what they returned then. So
the function has to make the same calls in the same order each time: whatever may differ from run to run (the
time, chance, the world) belongs into a step.
"""

import functools
import inspect
import json
import os
import select
import sys
import traceback

__all__ = ["Canceled", "Context", "End", "Interrupted", "Parts", "Permanent", "Transient", "serve", "skill", "work"]

PROTOCOL = 2
_functions = {}


class Permanent(Exception):
    """An error that will not pass: bad input, a refused tool."""

    error_class = "permanent"

    def __init__(self, message, code=None, hint=None, retry_after=None):
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.retry_after = retry_after


class Transient(Permanent):
    """An error that may pass. `retry_after`: seconds before it is worth another try."""

    error_class = "transient"


class Canceled(Exception):
    """Somebody asked for the end of the task. `Context.check` raises it."""


class Interrupted(Exception):
    """A message cut a step short: `message`, a str or a JSON value. `Context.step_or_message` raises it."""

    def __init__(self, message=None):
        super().__init__(message)
        self.message = message


class Suspended(BaseException):
    """The task waits and gives its program up. Not an `Exception`: do not catch it; `finally` blocks do run."""


class End:
    """How a delegated piece of work ended: `ok`, `task`, and `output` or `error` (code, message, hint)."""

    def __init__(self, line):
        self.task = line["task"]
        self.output = line.get("output")
        self.error = line.get("error")
        self.ok = self.error is None

    def __repr__(self):
        return "End(%s, %r)" % (self.task, self.output if self.ok else self.error)


def work(
    skill=None,
    input=None,
    need=None,
    budget=None,
    on_failure=None,
    retry=None,
    elsewhere=False,
    fallback=None,
    cached=None,
):
    """A piece of work for `Context.delegate`.

    skill: str, who is to do it; or need: dict, what they must be able to do, such as {"tags": ["ocr"]}
    input: any JSON value
    budget: dict, a slice of the task's budget, such as {"tokens": 500}; without it an equal share
    What happens when it does not complete, one of:
      on_failure: "report" (`End.error` says why; the default), "fail" (the task fails too), "ignore" (None)
      retry: int, how often it is handed out again; elsewhere: bool, to another node if there is one
      fallback: str, another skill that is asked once
      cached: seconds; the last result for an equal input, if it is not older
    """
    piece = {"input": input}
    if skill is not None:
        piece["skill"] = skill
    if need is not None:
        piece["need"] = need
    if budget is not None:
        piece["budget"] = budget
    policies = []
    if on_failure is not None:
        policies.append(on_failure)
    if retry is not None:
        policies.append({"retry": {"times": retry, "elsewhere": elsewhere}})
    if fallback is not None:
        policies.append({"fallback": {"skill": fallback}})
    if cached is not None:
        policies.append({"cached": {"noOlderThanMs": _ms(cached)}})
    if len(policies) > 1:
        raise Permanent("work has one of on_failure, retry, fallback, cached", code="bad_call")
    if policies:
        piece["onFailure"] = policies[0]
    return piece


class Parts(list):
    """A result of several A2A parts, such as `Parts([{"text": "a"}, {"data": {}}])`."""


class Reply(Parts):
    """A direct reply, of one value or of `Parts`: whoever talks A2A is answered with a message, as if there were no task. Say
    `serve(..., replies=True)`, or clients that stream are shown the task."""

    def __init__(self, value):
        super().__init__(value if isinstance(value, Parts) else [_part(value)])


class Context:
    """One task: what is known about it, and what can be said while it runs."""

    def __init__(self, line, wire):
        self._wire = wire
        self.task = line["task"]
        self.skill = line["skill"]
        self.owner = line["owner"]
        self.attempt = line["attempt"]
        self.context_id = line["contextId"]
        self.message_id = line.get("messageId", "")
        self.deadline = line["deadline"]
        self.idempotency_key = line["idempotencyKey"]
        self.input = line["input"]
        self.parts = line["parts"]
        self.degraded = False
        self.timed_out = False
        self._step = None
        self._used = None
        self._suspended = False

    def step(self, name, function, *args, **kwargs):
        """Runs `function(*args, **kwargs)` once and returns its result, which is any JSON value. When the task's
        log has the result already, that is returned and nothing runs.

        Within the function `ctx.idempotency_key` is `<task>/<name>`: hand it to whoever carries the effect out,
        for a crash between the effect and its entry in the log makes it happen again. An exception leaves nothing
        in the log.
        """
        return self._run({"call": "step.begin", "name": name}, lambda _: function(*args, **kwargs))

    def step_or_message(self, name, function, *args, **kwargs):
        """As `step`, but a message to the task cuts it short where the skill's `on_message` is `interrupt`: raises
        `Interrupted` with that message, in every later run too. What the function did may have happened.

        A long function looks at `ctx.interrupted` now and then, or calls `ctx.check()`, and ends soon; it may also return
        its result, and the message waits for the next call. One that does neither within the agent's
        `interrupt_grace` loses its program.
        """
        return self._run({"call": "step.begin", "name": name, "orMessage": True}, lambda _: function(*args, **kwargs))

    def call(self, name, arguments, function, reserve=None, approval=None, allowed_by=None):
        """A step that is watched over: runs `function(arguments)` once and returns its result.

        arguments: any JSON value; too many equal calls in a row are a loop, and fail
        reserve: dict, the most that it may use, such as {"tokens": 1000, "moneyMicros": 20000, "toolCalls": 1}
        approval: somebody has to allow it first: True, a question, or a dict (see `approve`); it is also asked
            for where the skill's settings say so. The function gets the arguments that were allowed
        allowed_by: str, the name of an `approve` of this run, whose action the arguments are
        The function says what it used with `ctx.used`; if it does not, all of `reserve` counts. `ctx.degraded`
        says within it whether to make do with less.
        Raises `Permanent` with code budget_exceeded, loop_detected, approval_denied or approval_mismatch.
        """
        request = {"call": "step.begin", "name": name, "arguments": arguments}
        if reserve is not None:
            request["reserve"] = reserve
        if approval is not None and approval is not False:
            request["approval"] = _approval(approval)
        if allowed_by is not None:
            request["allowedBy"] = allowed_by
        return self._run(request, function)

    def used(self, tokens=0, money_micros=0, tool_calls=0):
        """Within the function of `call`: adds to what the call has used."""
        if self._step is None or self._step["call"] is False:
            raise Permanent("ctx.used belongs into the function of a ctx.call", code="bad_call")
        self._used = self._used or {"tokens": 0, "moneyMicros": 0, "toolCalls": 0}
        self._used["tokens"] += tokens
        self._used["moneyMicros"] += money_micros
        self._used["toolCalls"] += tool_calls

    def delegate(self, name, pieces, join="all"):
        """Hands work to others, waits without holding a program, and returns an `End` for each piece in order.

        pieces: list of `work(...)`, or of pairs (skill, input)
        join: "all", "first", or how many have to complete; the others are canceled then
        """
        lines = [piece if isinstance(piece, dict) else work(*piece) for piece in pieces]
        join = {"quorum": join} if isinstance(join, int) else join
        reply = self._ask(call="delegate", name=name, work=lines, join=join)
        return [End(line) for line in reply["value"]]

    def sleep(self, name, seconds):
        """Sleeps without holding a program, for a second or for a month."""
        self._ask(call="sleep", name=name, ms=_ms(seconds))

    def ask(self, name, question, timeout=None, auth=False):
        """Asks whoever talks to the task and returns the next message: a str, or a JSON value.

        timeout: seconds, after which None is returned. auth: credentials are asked for
        """
        return self._wait(call="ask", name=name, question=question, limitMs=_ms(timeout), auth=auth)

    def message(self, name, timeout=None):
        """As `ask`, without a question. With a timeout of 0: only what has come already."""
        return self._wait(call="message", name=name, limitMs=_ms(timeout))

    def signal(self, name, timeout=None):
        """Waits for the signal `name` and returns what it carries, None for nothing. After a timeout `ctx.timed_out`
        is true."""
        return self._wait(call="signal", name=name, limitMs=_ms(timeout))

    def approve(self, name, action, question=None, chain=None, quorum=1, expires=None):
        """Waits until somebody allows `action`, a JSON value, and returns the action that is allowed: this one, or
        the one that was put in its place.

        chain: who may decide, such as [{"approvers": ["ann"]}, {"approvers": ["eve"], "afterMs": 3600000}]
        quorum: how many have to allow it. expires: seconds
        Raises `Permanent` with code approval_denied.
        """
        options = _approval({"question": question, "chain": chain, "quorum": quorum, "expires": expires})
        reply = self._ask(call="approve", name=name, action=action, approval=options)
        return reply["value"]["action"]

    def budget(self):
        """The budget as of now: granted, spent, reserved and left, each a dict by unit (a unit that is missing in
        `left` is not limited), and degraded. What the function does next must not depend on it outside of steps."""
        return self._ask(call="budget")["value"]

    def _run(self, request, function):
        if self._step is not None:
            what = "%r is asked for within step %r; steps cannot be nested"
            raise Permanent(what % (request["name"], self._step["name"]), code="overlapping_calls")
        self._wire.begin_to_listen()
        reply = self._ask(**request)
        if "value" in reply:
            return reply["value"]
        if "message" in reply:
            raise Interrupted(reply["message"])
        name, key = request["name"], self.idempotency_key
        self._step = {"name": name, "call": len(request) > 2 and "orMessage" not in request}
        self._used = None
        self.idempotency_key = reply["idempotencyKey"]
        self.degraded = reply.get("degraded", False)
        try:
            output = function(reply.get("arguments"))
            try:
                output = json.loads(_json(output))
            except (TypeError, ValueError) as error:
                raise Permanent("step %r: %s" % (name, error), code="invalid_output")
        except BaseException:
            reply = self._ask(call="step.abandon", name=name)
            if "message" in reply:
                raise Interrupted(reply["message"]) from None
            raise
        finally:
            self._step, self.idempotency_key, self.degraded = None, key, False
        used = request.get("reserve") if self._used is None else self._used
        end = {"call": "step.end", "name": name, "output": output}
        self._ask(**(dict(end, usage=used) if used else end))
        return output

    def _wait(self, **request):
        reply = self._ask(**request)
        self.timed_out = reply.get("timedOut", False)
        return reply["value"]

    def _ask(self, **request):
        """One request and its reply, or what the reply says to raise."""
        if self._suspended:
            raise Suspended
        if self._step is not None and request["call"] not in ("budget", "step.abandon"):
            what = "%s is asked for within step %r; make it before or after" % (request["call"], self._step["name"])
            raise Permanent(what, code="overlapping_calls")
        reply = self._wire.ask(self.task, request)
        if reply.get("suspend"):
            self._suspended = True
            raise Suspended
        error = reply.get("error")
        if error is None:
            return reply
        retry_after = error.get("retryAfterMs")
        kind = Transient if error["class"] == "transient" else Permanent
        message = error["message"] if "place" not in error else "%s: %s" % (error["place"], error["message"])
        raise kind(
            message,
            code=error["code"],
            hint=error.get("hint"),
            retry_after=None if retry_after is None else retry_after / 1000,
        )

    def status(self, text):
        """Says how far the work is, in the task's log, for everybody who follows it."""
        self._wire.write({"type": "status", "task": self.task, "text": str(text)})

    def artifact(self, artifact_id, value=None, parts=None, name=None, append=False, last=True):
        """Hands over something produced: one value or A2A parts, whole or in pieces."""
        artifact = {"artifactId": artifact_id, "parts": [_part(value)] if parts is None else parts}
        if name is not None:
            artifact["name"] = name
        line = {"type": "artifact", "artifact": artifact, "append": append, "lastChunk": last}
        self._wire.write(dict(line, task=self.task))

    def log(self, message, level="info"):
        """Writes to the node's own log: trace, debug, info, warn or error."""
        self._wire.write({"type": "log", "level": level, "message": str(message)})

    @property
    def canceled(self):
        """Whether somebody asked for the end of the task. Long work looks at it now and then."""
        return self._wire.is_canceled(self.task)

    @property
    def interrupted(self):
        """Within the function of `step_or_message`: whether a message has come that cuts it short."""
        return self._wire.is_interrupted(self.task)

    def check(self):
        """Raises `Canceled` if somebody asked for the end of the task, and `Interrupted` if a message cuts the step
        short."""
        if self.canceled:
            raise Canceled
        if self.interrupted:
            raise Interrupted


def skill(name):
    """Makes a function serve a skill: `@skill("inspect")`, then `serve()`."""

    def register(function):
        _functions[name] = function
        return function

    return register


def serve(functions=None, name=None, description=None, version=None, tags=None, examples=None,
          input_modes=None, output_modes=None, replies=None):
    """Does tasks until the node closes the connection.

    `functions`: one function for every skill, or a dict of them by skill; without it, those that
    `@skill` has registered. They take the input, or the input and a `Context`. The rest is for
    the agent card; modes are media types. `replies`: whether results may be a `Reply`.
    """
    functions = _functions if functions is None else functions
    wire = _Wire()
    about = {"name": name, "description": description, "version": version, "tags": tags,
             "examples": examples, "inputModes": input_modes, "outputModes": output_modes, "replies": replies}
    hello = {"type": "hello", "protocol": PROTOCOL}
    wire.write(dict(hello, **{key: value for key, value in about.items() if value is not None}))
    while True:
        line = wire.read()
        if line is None:
            return
        if line.get("type") == "task":
            context = Context(line, wire)
            answer = _run(functions, context)
            if context._suspended:
                # Whatever the function made of it: it runs again from the start.
                answer = {"type": "suspended", "task": context.task}
            try:
                wire.write(answer)
            except (TypeError, ValueError) as error:
                wire.write(_failure(line["task"], Permanent(str(error), code="invalid_output")))


def _run(functions, context):
    try:
        function = functions if callable(functions) else functions.get(context.skill)
        if function is None:
            raise Permanent("this program does not serve skill %r" % context.skill)
        arguments = (context.input, context)[: _takes(function)]
        result = function(*arguments)
    except Suspended:
        return None
    except Canceled:
        return _failure(context.task, Permanent("canceled", code="canceled"))
    except Permanent as error:
        return _failure(context.task, error)
    except Exception as error:
        traceback.print_exc()
        passing = isinstance(error, (ConnectionError, TimeoutError))
        text = "%s: %s" % (type(error).__name__, error)
        return _failure(context.task, Transient(text) if passing else Permanent(text))
    finally:
        sys.stdout.flush()
    if isinstance(result, Parts):
        line = {"type": "result", "task": context.task, "parts": result}
        return dict(line, reply=True) if isinstance(result, Reply) else line
    return {"type": "result", "task": context.task, "output": result}


@functools.lru_cache(maxsize=None)
def _takes(function):
    try:
        return len(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return 1


def _failure(task, error):
    line = {"type": "error", "task": task, "class": error.error_class, "message": str(error)}
    if error.code is not None:
        line["code"] = error.code
    if error.hint is not None:
        line["hint"] = error.hint
    if error.retry_after is not None:
        line["retryAfterMs"] = int(error.retry_after * 1000)
    return line


def _ms(seconds):
    return None if seconds is None else int(round(seconds * 1000))


def _approval(options):
    if options is True:
        return {}
    if isinstance(options, str):
        return {"question": options}
    given = {key: value for key, value in options.items() if value is not None}
    if "expires" in given:
        given["expiresMs"] = _ms(given.pop("expires"))
    return given


def _json(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _part(value):
    return {"text": value} if isinstance(value, str) else {"data": value}


class _Wire:
    """The lines. Takes standard input and output away from everybody else, so that neither a `print`
    nor a program started by the agent can disturb them."""

    def __init__(self):
        self._input = os.dup(0)
        self._output = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._buffer = bytearray()
        self._canceled = None
        self._interrupted = None
        self._ended = False
        # A process for one task gets the end of input right after it.
        self._end_cancels = os.environ.get("WEFT_AGENT_MODE") != "once"
        self._requests = 0

    def write(self, line):
        data = memoryview(_json(line).encode("utf-8") + b"\n")
        try:
            while data:
                data = data[os.write(self._output, data) :]
        except BrokenPipeError:
            sys.exit(1)

    def read(self):
        while True:
            line = self._pop()
            if line is not None:
                return line
            if self._ended:
                return None
            self._fill()

    def ask(self, task, request):
        if not self._end_cancels:
            what = "%s needs mode = \"serve\": a process for one task gets no replies" % request["call"]
            raise Permanent(what, code="agent_protocol")
        self._requests += 1
        given = {key: value for key, value in request.items() if value is not None or key in ("arguments", "output")}
        try:
            self.write(dict(given, type="request", id=self._requests, task=task))
        except (TypeError, ValueError) as error:
            what = "%s %r: %s" % (request["call"], request.get("name"), error)
            raise Permanent(what, code="invalid_output")
        while True:
            line = self.read()
            if line is None:
                sys.exit(0)
            if line.get("type") == "reply" and line.get("id") == self._requests:
                return line
            self._note(line)

    def begin_to_listen(self):
        """What was said about an earlier step has been dealt with."""
        self._interrupted = None

    def is_interrupted(self, task):
        self._look()
        return self._interrupted == task

    def is_canceled(self, task):
        self._look()
        return self._canceled == task or (self._ended and self._end_cancels)

    def _note(self, line):
        if line.get("type") == "cancel":
            self._canceled = line.get("task")
        elif line.get("type") == "interrupt":
            self._interrupted = line.get("task")

    def _look(self):
        while not self._ended and select.select([self._input], [], [], 0)[0]:
            self._fill()
        while b"\n" in self._buffer:
            self._note(self._pop())

    def _fill(self):
        chunk = os.read(self._input, 65536)
        self._ended = not chunk
        self._buffer += chunk

    def _pop(self):
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return json.loads(line)
