"""Write a Weft agent in Python. One file, no dependencies, Python 3.8 or later.

    from weft_agent import serve

    def shout(input, ctx):
        ctx.status("shouting")
        return input.upper()

    serve(shout)

`serve` speaks JSON lines with the node over standard input and output, one task at a time. What the
function prints goes to standard error. It may raise `Transient` or `Permanent`; connection errors and
timeouts count as transient, every other exception as permanent.
"""

import functools
import inspect
import json
import os
import select
import sys
import traceback

__all__ = ["Canceled", "Context", "Parts", "Permanent", "Transient", "serve", "skill"]

PROTOCOL = 1
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


class Parts(list):
    """A result of several A2A parts, such as `Parts([{"text": "a"}, {"data": {}}])`."""


class Context:
    """One task: what is known about it, and what can be said while it runs."""

    def __init__(self, line, wire):
        self._wire = wire
        self.task = line["task"]
        self.skill = line["skill"]
        self.owner = line["owner"]
        self.attempt = line["attempt"]
        self.context_id = line["contextId"]
        self.deadline = line["deadline"]
        self.idempotency_key = line["idempotencyKey"]
        self.input = line["input"]
        self.parts = line["parts"]

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

    def check(self):
        """Raises `Canceled` if somebody asked for the end of the task."""
        if self.canceled:
            raise Canceled


def skill(name):
    """Makes a function serve a skill: `@skill("inspect")`, then `serve()`."""

    def register(function):
        _functions[name] = function
        return function

    return register


def serve(functions=None, name=None, description=None, version=None):
    """Does tasks until the node closes the connection.

    `functions`: one function for every skill, or a dict of them by skill; without it, those that
    `@skill` has registered. They take the input, or the input and a `Context`.
    """
    functions = _functions if functions is None else functions
    wire = _Wire()
    about = {"name": name, "description": description, "version": version}
    hello = {"type": "hello", "protocol": PROTOCOL}
    wire.write(dict(hello, **{key: value for key, value in about.items() if value is not None}))
    while True:
        line = wire.read()
        if line is None:
            return
        if line.get("type") == "task":
            answer = _run(functions, Context(line, wire))
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
        return {"type": "result", "task": context.task, "parts": result}
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
        self._ended = False
        # A process for one task gets the end of input right after it.
        self._end_cancels = os.environ.get("WEFT_AGENT_MODE") != "once"

    def write(self, line):
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = memoryview(text.encode("utf-8") + b"\n")
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

    def is_canceled(self, task):
        while not self._ended and select.select([self._input], [], [], 0)[0]:
            self._fill()
        while b"\n" in self._buffer:
            line = self._pop()
            if line.get("type") == "cancel":
                self._canceled = line.get("task")
        return self._canceled == task or (self._ended and self._end_cancels)

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
