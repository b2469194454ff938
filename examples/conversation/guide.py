#!/usr/bin/env python3
"""A conversation of any length that is one task. Between two messages it holds no program, and a crash in the middle
costs nothing: every answer that was given is in the log."""

import itertools
import os
import pathlib
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

from weft_agent import serve


def guide(message, ctx):
    packed = []

    def think(message):
        # Stands for a language model: what it says is not the same twice, which is why it is a step.
        with open(os.path.join(os.environ["WEFT_SCRATCH"], "effects"), "a") as effects:
            effects.write(ctx.idempotency_key + "\n")
        if "?" in message:
            return {"say": "You have packed %s. What else?" % (", ".join(packed) or "nothing")}
        return {"pack": message, "say": "Packed: %s. What else?" % message}

    for turn in itertools.count(1):
        thought = ctx.step("think-%d" % turn, think, message)
        if "pack" in thought:
            packed.append(thought["pack"])
        message = ctx.ask("turn %d" % turn, thought["say"], timeout=24 * 3600)
        if message is None or message == "done":
            return {"turns": turn, "packed": packed}


serve(guide, name="guide.py", description="Helps to pack, message by message")
