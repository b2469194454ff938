#!/usr/bin/env python3
"""Inspects one file: language, bytes, lines, words, TODOs, SHA-256. Serves the skill `inspect` of `weft demo`.

The same rules stand in `cli/src/demo_agents/inspect.rs`, and a test holds both to the same answers. They
speak of bytes, so that every file has one answer whatever its encoding:

- lines: line feeds, plus one if something follows the last one. `CR LF` is one line end, a lone CR none.
- words: runs of bytes other than space, tab, LF, VT, FF, CR.
- TODOs: the word TODO in capitals, with no ASCII letter, digit or underscore beside it.

`inspect_file.py FILE...` prints the facts of files without a mesh.
"""

import hashlib
import json
import os
import pathlib
import re
import sys
import time

# Beside this file, or where Weft's own repository keeps it.
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

TODO = re.compile(rb"(?<![A-Za-z0-9_])TODO(?![A-Za-z0-9_])")
ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")

LANGUAGES = {
    b"bash": "Shell",
    b"c": "C",
    b"cc": "C++",
    b"cpp": "C++",
    b"css": "CSS",
    b"go": "Go",
    b"h": "C",
    b"hpp": "C++",
    b"htm": "HTML",
    b"html": "HTML",
    b"java": "Java",
    b"js": "JavaScript",
    b"json": "JSON",
    b"kt": "Kotlin",
    b"lock": "Lock file",
    b"md": "Markdown",
    b"mjs": "JavaScript",
    b"proto": "Protobuf",
    b"py": "Python",
    b"rb": "Ruby",
    b"rs": "Rust",
    b"rst": "reStructuredText",
    b"sh": "Shell",
    b"sql": "SQL",
    b"svg": "SVG",
    b"swift": "Swift",
    b"toml": "TOML",
    b"ts": "TypeScript",
    b"tsx": "TypeScript",
    b"txt": "Text",
    b"xml": "XML",
    b"yaml": "YAML",
    b"yml": "YAML",
}
NAMES = {b"Dockerfile": "Dockerfile", b"LICENSE": "Text", b"Makefile": "Makefile", b"README": "Text"}


def unescape(text):
    """The bytes of a path: `\\\\` stands for a backslash and `\\xNN` for a byte that could not be shown."""
    replace = lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\"
    return ESCAPE.sub(replace, text.encode("utf-8"))


def language(name):
    """From the name alone: the whole of it, or what follows its last dot."""
    if name in NAMES:
        return NAMES[name]
    stem, dot, extension = name.rpartition(b".")
    # bytes.lower() changes ASCII letters only.
    return LANGUAGES.get(extension.lower(), "other") if stem and dot else "other"


def facts(name, content):
    return {
        "language": language(name),
        "bytes": len(content),
        "lines": content.count(b"\n") + (1 if content and not content.endswith(b"\n") else 0),
        "words": len(content.split()),
        "todos": len(TODO.findall(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def inspect(input, ctx):
    root, path = unescape(input["root"]), unescape(input["path"])
    # What makes the demo last long enough to watch it.
    time.sleep(input.get("restMs", 0) / 1000)
    ctx.check()
    with open(os.path.join(root, path), "rb") as file:
        content = file.read()
    return dict(facts(os.path.basename(path), content), path=input["path"], by="python")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for argument in map(os.fsencode, sys.argv[1:]):
            with open(argument, "rb") as file:
                print(json.dumps(facts(os.path.basename(argument), file.read())))
    else:
        from weft_agent import serve

        serve(inspect, name="inspect_file.py", description="Inspects one file, in Python")
