"""Reads agent cards as the reference SDK of A2A does, and holds them against its protobuf descriptors.

Usage: a2a_cards.py FUNCTION ARGUMENT... Prints one JSON value.
"""

import asyncio
import copy
import json
import pathlib
import sys

import httpx
from a2a.client import A2ACardResolver
from a2a.client.card_resolver import parse_agent_card
from a2a.types.a2a_pb2 import AgentCard
from a2a.utils._jcs import canonicalize
from a2a.utils.signing import SignatureVerificationError, create_signature_verifier
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.api import field_behavior_pb2
from google.protobuf import json_format
from jwt import PyJWK, api_jws
from jwt.exceptions import PyJWTError
from jwt.utils import base64url_encode

WELL_KNOWN = "/.well-known/agent-card.json"
STRUCT = "google.protobuf.Struct"


def missing(document, descriptor, place=""):
    """The required fields that a JSON document lacks or leaves empty, by their places."""
    found = []
    for field in descriptor.fields:
        behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        here = f"{place}.{field.json_name}"
        value = document.get(field.json_name)
        if field_behavior_pb2.REQUIRED in behaviors and value in (None, "", []):
            if field.type != field.TYPE_MESSAGE or field.is_repeated or value is None:
                found.append(here)
        if value is None or field.type != field.TYPE_MESSAGE or field.message_type.full_name == STRUCT:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            for key, one in value.items():
                found += missing(one, inner, f"{here}[{key}]")
        elif field.is_repeated:
            for at, one in enumerate(value):
                found += missing(one, field.message_type, f"{here}[{at}]")
        else:
            found += missing(value, field.message_type, here)
    return found


async def read(address, *paths):
    """Each card as it came, as the SDK understands it, and what of it is missing or not understood."""
    seen = {}
    async with httpx.AsyncClient() as http:
        for path in paths:
            card = await A2ACardResolver(http, f"http://{address}{path}").get_agent_card()
            document = (await http.get(f"http://{address}{path}{WELL_KNOWN}")).json()
            strict = json_format.ParseDict(document, AgentCard())
            seen[path] = {
                "document": document,
                "understood": json_format.MessageToDict(card),
                "missing": missing(document, AgentCard.DESCRIPTOR),
                "same": strict == card,
            }
    return seen


def keys(folder):
    """Makes a key of each kind, as `openssl genpkey` would."""
    made = {"p256": ec.generate_private_key(ec.SECP256R1()), "ed25519": ed25519.Ed25519PrivateKey.generate()}
    for name, key in made.items():
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (pathlib.Path(folder) / f"{name}.pem").write_bytes(pem)
    return sorted(made)


def leaves(document, path=()):
    """The places of all strings in a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*path, key))
    elif isinstance(document, list):
        for at, value in enumerate(document):
            yield from leaves(value, (*path, at))
    elif isinstance(document, str) and document:
        yield path


def changed(document, path):
    """The document with the last character of one string changed."""
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    text = inner[path[-1]]
    inner[path[-1]] = text[:-1] + ("x" if text[-1] != "x" else "y")
    return document


async def verify(address, path):
    """Verifies a card's signature with the SDK and by the letter of the specification, and every changed card."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://{address}{path}{WELL_KNOWN}")
        key_set = (await http.get(f"http://{address}/.well-known/jwks.json")).json()
    document = answer.json()
    public = {key["kid"]: PyJWK(key) for key in key_set["keys"]}
    asked = []

    def key_of(kid, jku):
        asked.append([kid, jku])
        return public[kid]

    algorithms = [key["alg"] for key in key_set["keys"]]
    check = create_signature_verifier(key_of, algorithms)
    check(parse_agent_card(copy.deepcopy(document)))

    def by_the_letter(document):
        payload = {key: value for key, value in document.items() if key != "signatures"}
        payload = base64url_encode(canonicalize(payload).encode()).decode()
        for one in document["signatures"]:
            token = f"{one['protected']}.{payload}.{one['signature']}"
            try:
                api_jws.decode(token, public[key_set["keys"][0]["kid"]], algorithms=algorithms)
                return True
            except PyJWTError:
                continue
        return False

    fooled, tried = [], 0
    unsigned = {key: value for key, value in document.items() if key != "signatures"}
    for place in leaves(unsigned):
        other = changed(document, place)
        tried += 1
        if by_the_letter(other):
            fooled.append(["letter", *place])
        try:
            check(parse_agent_card(copy.deepcopy(other)))
            fooled.append(["sdk", *place])
        except SignatureVerificationError:
            pass
    return {
        "signatures": len(document["signatures"]),
        "letter": by_the_letter(document),
        "asked": asked[0],
        "keys": key_set["keys"],
        "tried": tried,
        "fooled": fooled,
    }


FUNCTIONS = {one.__name__: one for one in (read, keys, verify)}


def main():
    name, *arguments = sys.argv[1:]
    result = FUNCTIONS[name](*arguments)
    print(json.dumps(asyncio.run(result) if asyncio.iscoroutine(result) else result))


main()
