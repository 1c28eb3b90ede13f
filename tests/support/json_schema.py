"""A judge for the part of JSON Schema that trapd/control/schema.json uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trapd.ctl.verbs.schema import FILE

SCHEMA: Mapping[str, Any] = json.loads(FILE.read_text())
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def faults(value: object, name: str) -> list[str]:
    """Where the value differs from the document of this name; members that the schema does not know included."""
    return list(_faults(value, SCHEMA["$defs"][name], name))


def _faults(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if "$ref" in schema:
        yield from _faults(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], where)
    elif "anyOf" in schema:
        if all(list(_faults(value, one, where)) for one in schema["anyOf"]):
            yield f"{where}: {value!r} is none of {schema['anyOf']}"
    elif "const" in schema or "enum" in schema:
        if value not in schema.get("enum", [schema.get("const")]):
            yield f"{where}: {value!r}"
    elif not isinstance(value, _TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        yield f"{where}: {value!r} is no {schema['type']}"
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _faults(item, schema["items"], f"{where}[{number}]")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value)
        for name, member in value.items():
            inner = known.get(name, schema.get("additionalProperties"))
            yield from [f"{where}.{name} is unknown"] if inner is None else _faults(member, inner, f"{where}.{name}")
