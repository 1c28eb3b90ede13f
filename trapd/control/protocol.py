"""The wire: JSON-RPC 2.0, one UTF-8 JSON object a line. Bytes in, values out; no I/O.

    client    {"jsonrpc":"2.0","id":1,"method":"rollout.wait","params":{"id":12}}
    server    {"jsonrpc":"2.0","method":"progress","params":{"request":1, ...}}         any number of times
    server    {"jsonrpc":"2.0","id":1,"result":{...}}    or    {...,"error":{"code":75,"message":"...","data":{...}}}

Several requests may be under way on one connection; answers come in the order in which they are ready.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NoReturn, TypeGuard

SCHEMA: Final = 2  # of all documents; goes up only when a member is taken away or changes its meaning
MOST_LINES = 1000  # of history in one answer: 10,000 hold trapd's loop up for 0.3 s, and anybody may ask
MAX_REQUEST = 64 * 1024  # bytes of one request with its newline; answers have no limit

Id = int | str | None


class Code(IntEnum):
    """JSON-RPC's own codes are negative; ours are trapctl's exit statuses."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    REFUSED = 1
    USAGE = 2  # a name of nothing that is there, or a number that is none
    NOT_PERMITTED = 4
    TIMED_OUT = 75  # the waiting, not what was waited for


class ProtocolError(Exception):
    """What the peer sent cannot be used; ``code`` and ``id`` go into the answer."""

    def __init__(self, code: Code, message: str, id: Id = None) -> None:
        super().__init__(message)
        self.code, self.id = code, id


@dataclass(frozen=True, slots=True)
class Request:
    """``answered`` is False for a JSON-RPC notification: it is carried out, and nothing is said."""

    method: str
    params: Mapping[str, object] = field(default_factory=dict)
    id: Id = None
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """What is going on in a request that takes its time."""

    request: Id
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Result:
    id: Id
    value: object


@dataclass(frozen=True, slots=True)
class Failed:
    id: Id
    code: int
    message: str
    data: Mapping[str, object] = field(default_factory=dict)


def parse_request(line: bytes) -> Request:
    """Read what a client sent. Raises ProtocolError for anything that is not one request, whatever the bytes."""
    if len(line) > MAX_REQUEST:
        raise ProtocolError(Code.INVALID_REQUEST, f"cannot read a request of more than {MAX_REQUEST} bytes")
    message = _object(line)
    id = message.get("id")
    if not _is_id(id):
        raise ProtocolError(Code.INVALID_REQUEST, "cannot use this id: it has to be a number, a text or null")
    method, params = message.get("method"), message.get("params", {})
    if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise ProtocolError(Code.INVALID_REQUEST, 'cannot read this as JSON-RPC: "jsonrpc":"2.0" and a method', id)
    if not isinstance(params, dict):
        raise ProtocolError(Code.INVALID_PARAMS, "cannot use these params: they have to be an object", id)
    return Request(method, params, id, answered="id" in message)


def parse_answer(line: bytes) -> Progress | Result | Failed:
    """Read what the server sent. Raises ProtocolError if it is none of the three."""
    message = _object(line)
    id = message.get("id")
    match message:
        case {"method": "progress", "params": dict() as params} if _is_id(request := params.get("request")):
            return Progress(request, params)
        case {"error": {"code": int() as code, "message": str() as text, "data": dict() as data}} if _is_id(id):
            return Failed(id, code, text, data)
        case {"error": {"code": int() as code, "message": str() as text}} if _is_id(id):
            return Failed(id, code, text)
        case {"result": value} if _is_id(id):
            return Result(id, value)
    raise ProtocolError(Code.INVALID_REQUEST, "cannot read this as an answer of trapd")


def format_request(request: Request) -> bytes:
    message = {"jsonrpc": "2.0", "method": request.method, "params": dict(request.params)}
    return _line(message | ({"id": request.id} if request.answered else {}))


def format_answer(answer: Progress | Result | Failed) -> bytes:
    match answer:
        case Progress(request, params):
            return _line({"jsonrpc": "2.0", "method": "progress", "params": {**params, "request": request}})
        case Result(id, value):
            return _line({"jsonrpc": "2.0", "id": id, "result": value})
        case Failed(id, code, text, data):
            error = {"code": int(code), "message": text} | ({"data": dict(data)} if data else {})
            return _line({"jsonrpc": "2.0", "id": id, "error": error})


def _line(message: Mapping[str, object]) -> bytes:
    # ASCII only: a lone surrogate from an odd file name stays an escape instead of an encoding error
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _object(line: bytes) -> dict[str, object]:
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of 5000 digits, 10000 brackets
        raise ProtocolError(Code.PARSE, f"cannot read this as JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError(Code.INVALID_REQUEST, "cannot use this: one JSON object a line, and no batches")
    return message


def _is_id(id: object) -> TypeGuard[Id]:
    return id is None or (isinstance(id, int | str) and not isinstance(id, bool))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
