#!/usr/bin/env python3
"""Counts the lines, words and characters of a text, and its most frequent words."""

import collections
import pathlib
import sys

# Only because this file lies in Weft's own repository; elsewhere put weft_agent.py beside the agent.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

from weft_agent import Permanent, serve


def wordcount(input, ctx):
    if not isinstance(input, str):
        raise Permanent("the input is no text", code="invalid_input", hint="send plain text")
    words = input.split()
    common = collections.Counter(word.lower() for word in words).most_common(3)
    return {"lines": len(input.splitlines()), "words": len(words), "characters": len(input), "common": common}


serve(wordcount, name="wordcount", description="Counts lines, words and characters")
