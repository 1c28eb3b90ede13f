"""What a command takes: read from the types of its handler, and checked before the handler sees it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import Annotated, get_args, get_origin, get_type_hints

from trapd.control.protocol import Code, ProtocolError, Request
from trapd.control.requests import Default, Most

_LONGEST_TEXT = 1000  # characters; a reason is a sentence
_LARGEST = 2**53  # beyond it not every JSON reader has exact numbers


class Kind(StrEnum):
    TEXT = f"text of at most {_LONGEST_TEXT} characters"
    TEXTS = "list of texts"
    NUMBER = "whole number"
    SECONDS = "number of seconds"
    SWITCH = "true or false"


_KINDS: dict[object, Kind] = {
    str: Kind.TEXT,
    list[str]: Kind.TEXTS,
    int: Kind.NUMBER,
    float: Kind.SECONDS,
    bool: Kind.SWITCH,
}


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. ``default`` stands for one that is left out; ``required``: none may."""

    name: str
    kind: Kind
    doc: str
    required: bool
    default: object
    most: int


def parameters(handler: Callable[..., object]) -> tuple[Param, ...]:
    """Those of a handler that takes ``Call[TypedDict]``."""
    hints = get_type_hints(handler, include_extras=True)
    (given,) = get_args(hints["call"])
    return tuple(_param(name, hint) for name, hint in get_type_hints(given, include_extras=True).items())


def _param(name: str, hint: object) -> Param:
    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    (kind,) = [part for part in get_args(kind) if part is not NoneType] if NoneType in get_args(kind) else [kind]
    defaults = [note for note in notes if isinstance(note, Default)]
    most = next((note.value for note in notes if isinstance(note, Most)), _LARGEST)
    doc = "; ".join(note for note in notes if isinstance(note, str))
    return Param(name, _KINDS[kind], doc, not defaults, defaults[0].value if defaults else None, most)


def read(command: str, params: tuple[Param, ...], request: Request) -> dict[str, object]:
    """Every parameter of the command, checked, with defaults. Raises ProtocolError."""
    known = {param.name for param in params}
    if unknown := sorted(set(request.params) - known):
        has = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        raise _wrong(request, f"cannot use {unknown[0][:60]!r} with {command}: {has}")
    values: dict[str, object] = {}
    for param in params:
        value = request.params.get(param.name)
        if value is None:
            if param.required:
                raise _wrong(request, f"cannot do {command} without {param.name}: {param.doc}")
            value = param.default
        elif not _fits(param.kind, value):
            raise _wrong(request, f"cannot use this {param.name} with {command}: it has to be a {param.kind}")
        elif isinstance(value, int | float) and value > param.most:
            raise _wrong(request, f"cannot use this {param.name} with {command}: at most {param.most}")
        values[param.name] = value
    return values


def _wrong(request: Request, message: str) -> ProtocolError:
    return ProtocolError(Code.INVALID_PARAMS, message, request.id)


def _fits(kind: Kind, value: object) -> bool:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    match kind:
        case Kind.TEXT:
            return isinstance(value, str) and len(value) <= _LONGEST_TEXT
        case Kind.TEXTS:
            return isinstance(value, list) and all(_fits(Kind.TEXT, item) for item in value)
        case Kind.SWITCH:
            return isinstance(value, bool)
        case Kind.NUMBER:
            return isinstance(number, int) and 0 <= number <= _LARGEST
        case Kind.SECONDS:
            return 0 <= number <= _LARGEST  # which infinity and NaN do not
