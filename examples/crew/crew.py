#!/usr/bin/env python3
"""A research crew with a budget: an editor hands topics to researchers, each with a slice of it. Where a researcher
fails, the archive is asked. What nobody has spent comes back to the editor."""

import os
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

from weft_agent import Permanent, serve, skill, work


def note(key):
    """The outside world: a file in which every effect leaves its key."""
    with open(os.path.join(os.environ["WEFT_SCRATCH"], "effects"), "a") as effects:
        effects.write(key + "\n")


@skill("editor")
def edit(topics, ctx):
    # Enough for a second try: of a call that a crash cut short, all that was set aside counts as spent.
    budget = {"tokens": 600}
    pieces = [work("researcher", topic, budget=budget, fallback="archive") for topic in topics]
    ends = ctx.delegate("research", pieces)
    notes = [
        end.output if end.ok else {"topic": topic, "found": "nothing: " + end.error["message"]}
        for topic, end in zip(topics, ends)
    ]

    def write(notes):
        note(ctx.idempotency_key)
        ctx.used(tokens=40 * len(notes))
        return "; ".join("%(topic)s: %(found)s" % each for each in notes)

    report = ctx.call("write", notes, write, reserve={"tokens": 50 * len(notes)})
    account = ctx.budget()
    return {"report": report, "spent": account["spent"], "left": account["left"]}


@skill("researcher")
def research(topic, ctx):
    def read(topic):
        note(ctx.idempotency_key)
        ctx.used(tokens=200 + len(topic))
        return "%d sources" % len(topic)

    found = ctx.call("read", topic, read, reserve={"tokens": 250})
    if topic == "dragons":
        raise Permanent("there are no dragons", code="no_sources")
    return {"topic": topic, "found": found}


@skill("archive")
def look_up(topic, ctx):
    found = ctx.step("look up", lambda: note(ctx.idempotency_key) or "an old map")
    return {"topic": topic, "found": found}


serve()
