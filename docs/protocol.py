"""Write docs/protocol.md and trapd/control/schema.json from the types of the documents: ``python -m docs.protocol``"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from trapd.control import documents
from trapd.control.commands import PARAMETERS, TABLE, Access
from trapd.control.protocol import SCHEMA

FILE = Path(__file__).with_name("protocol.md")
SCHEMA_FILE = Path(documents.__file__).with_name("schema.json")

HEAD = """# The control socket

trapd answers at `<runtime_directory>/control.sock` (`/run/trapd/control.sock`), a Unix stream socket. `trapctl` uses
nothing else, and any program that can open a socket can do what `trapctl` does. This file is made from trapd's types by
`python -m docs.protocol`; `trapctl schema` prints the same as a JSON Schema, and [answers](answers) has examples.

## The wire

[JSON-RPC 2.0](https://www.jsonrpc.org/specification), one UTF-8 JSON object a line, params by name. A request
has at most 64 KiB; an answer has no limit. There are no batches. Several requests may be under way on one connection
(16 at most); answers come in the order in which they are ready, so look at their `id`.

```json
{"jsonrpc":"2.0","id":1,"method":"rollout.wait","params":{"id":12,"timeout":600}}
```

Before the answer to a request that takes long, trapd sends any number of notifications; `request` is the id of the
request to which they belong:

```json
{"jsonrpc":"2.0","method":"progress","params":{"request":1,"pool":"default","wanted":2,"updated":1,"message":"..."}}
```

Close the connection to give up the requests that are under way on it: that ends a wait, and never a rollout. A
connection on which nothing is sent and no request is under way is closed after a minute; so is a connection whose
answers are not read.

From a shell:

```sh
echo '{"jsonrpc":"2.0","id":1,"method":"status"}' | nc -NU /run/trapd/control.sock
```

## Rights

Everybody on the machine may connect; the kernel tells trapd which user it is (SO_PEERCRED). Commands marked **admin**
are for root, trapd's own user and the members of group `trapd`, primary or supplementary. Commands marked **submit**
are for these and for the members of group `trapd-submit`. The other commands are for everybody. No answer contains a
password: passwords in URLs are replaced by stars.

## Errors

An error has a `code`, a `message` for people (what, why, what to do), and sometimes `data`.

| code | means |
|---|---|
| 1 | the command cannot be carried out now: nothing to undo, trapd stops |
| 2 | a name or a number is unknown: no such pool, worker or rollout |
| 4 | the caller may not do this |
| 75 | the wait timed out, or a person has to act first; `data` is what a progress would have said |
| -32700, -32600 | not JSON; not a request |
| -32601, -32602 | no such command; wrong params |
| -32603 | an error in trapd; its log has the traceback |

## Schema
"""

ABOUT_SCHEMA = f"""
Every answer has `"schema": {SCHEMA}`. Members may be added; none is taken away or given another meaning within
a schema. A `trapctl` that receives an answer of another schema reports that and ends with exit status 69. Times are
seconds since the epoch, with fractions. No member is ever left out: a member that has no value is null.
"""


# --- reading the types ------------------------------------------------------------------------------------------------


def all_documents() -> dict[str, type]:
    """Return the TypedDicts of documents.py that are no parameters of a command, in their order there."""
    own = {name: document for name, document in vars(documents).items() if is_typeddict(document)}
    given = {document for row in TABLE for document in get_args(get_type_hints(row.handler)["call"])}
    return {name: document for name, document in own.items() if document not in given and not name.startswith("_")}


def answers() -> list[str]:
    """Return the names of the documents that are whole answers."""
    return [name for name, document in all_documents().items() if "schema" in get_type_hints(document)]


def members(document: type) -> Iterator[tuple[str, Any, str, list[str]]]:
    """Yield for each member its name, its bare type, its description, and the values of its enumeration."""
    for name, hint in get_type_hints(document, include_extras=True).items():
        bare, notes = _parts(hint)
        values = [value.value for note in notes if isinstance(note, type) and issubclass(note, Enum) for value in note]
        doc = [note for note in reversed(notes) if isinstance(note, str) and note]
        yield name, bare, "; ".join(doc), values


def _parts(hint: Any) -> tuple[Any, list[Any]]:
    """Return a type, and its notes from ``Annotated``; for ``X | None`` also the notes of X."""
    if get_origin(hint) is Annotated:
        bare, *notes = get_args(hint)
        inner, more = _parts(bare)
        return inner, [*more, *notes]
    if get_origin(hint) in (Union, UnionType):
        parts = [_parts(part) for part in get_args(hint)]
        return Union[tuple(bare for bare, _ in parts)], [note for _, notes in parts for note in notes]  # noqa: UP007
    return hint, []


def docstring(document: object) -> str:
    """Return the docstring of a document; empty if it is the one that typing itself writes."""
    text = inspect.cleandoc(getattr(document, "__doc__", None) or "")
    return "" if text.startswith("dict(") else text


# --- JSON Schema ------------------------------------------------------------------------------------------------------

_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def json_schema() -> dict[str, Any]:
    """All documents, and which command takes what and answers with which."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"trapd, schema {SCHEMA}",
        "description": "The documents that trapctl --json prints, and the results on the control socket.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in answers()],
        "commands": {
            row.name: {
                "admin": row.access is Access.ADMIN,
                "params": [param.name for param in PARAMETERS[row.name]],
                "required": [param.name for param in PARAMETERS[row.name] if param.required],
                "answer": {"$ref": f"#/$defs/{get_type_hints(row.handler)['return'].__name__}"},
            }
            for row in TABLE
        },
        "$defs": {name: _object(document) for name, document in all_documents().items()},
    }


def _object(document: type) -> dict[str, Any]:
    properties = {}
    for name, bare, doc, values in members(document):
        schema = _schema(bare)
        if values:
            schema["enum"] = values
        properties[name] = schema | ({"description": doc} if doc else {})
    text = {"description": docstring(document)} if docstring(document) else {}
    return {"type": "object", **text, "properties": properties, "required": list(properties)}


def _schema(bare: Any) -> dict[str, Any]:
    origin, inner = get_origin(bare), get_args(bare)
    if is_typeddict(bare):
        return {"$ref": f"#/$defs/{bare.__name__}"}
    if origin is Literal:
        return {"const": inner[0]} if len(inner) == 1 else {"enum": list(inner)}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(one) for one in inner]}
    if origin is list:
        return {"type": "array", "items": _schema(_parts(inner[0])[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inner[1])}
    return {"type": _SIMPLE[bare]}


# --- Markdown ---------------------------------------------------------------------------------------------------------

_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null"}


def page() -> str:
    """The whole of docs/protocol.md."""
    parts = [HEAD, ABOUT_SCHEMA, "\n## Commands\n", *(_command(row) for row in TABLE), "\n## Documents\n"]
    return "".join([*parts, *(_document(name, document) for name, document in all_documents().items())])


def _command(row: Any) -> str:
    answer = get_type_hints(row.handler)["return"]
    rights = {Access.ADMIN: "**admin**. ", Access.SUBMIT: "**submit**. "}.get(row.access, "")
    sentences = " ".join(docstring(row.handler).split())
    text = f"\n### `{row.name}`\n\n" + _folded(f"{rights}{sentences} Answers with {_words(answer)}.")
    rows = []
    for param in PARAMETERS[row.name]:
        default = (
            "" if param.required else "; may be left out" + (f": {json.dumps(param.default)}" if param.default else "")
        )
        rows.append(f"| `{param.name}` | {param.kind} | {param.doc}{default} |\n")
    return text + ("\n| param | type | meaning |\n|---|---|---|\n" + "".join(rows) if rows else "")


def _folded(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _document(name: str, document: type) -> str:
    text = f"{docstring(document)}\n\n" if docstring(document) else ""
    rows = []
    for member, bare, doc, values in members(document):
        listed = ", ".join(f"`{value}`" for value in values)
        meaning = ". ".join(part for part in (listed, doc) if part)
        rows.append(f"| `{member}` | {_words(bare)} | {meaning} |\n")
    return f"\n### {name}\n\n{text}| member | type | meaning |\n|---|---|---|\n{''.join(rows)}"


def _words(bare: Any) -> str:
    origin, inner = get_origin(bare), get_args(bare)
    if is_typeddict(bare):
        return f"[{bare.__name__}](#{bare.__name__.lower()})"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_words(one) for one in inner)
    if origin is list:
        return "list of texts" if inner[0] is str else f"list of {_words(_parts(inner[0])[0])}"
    if origin is dict:
        return "object of texts"
    return _WORDS[bare]


if __name__ == "__main__":
    FILE.write_text(page())
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1) + "\n")
