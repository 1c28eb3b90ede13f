"""The wire: what is written is what is read, and no bytes whatever break the reader."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapd.control.protocol import (
    MAX_REQUEST,
    Code,
    Failed,
    Progress,
    ProtocolError,
    Request,
    Result,
    format_answer,
    format_request,
    parse_answer,
    parse_request,
)

TEXTS = st.text(max_size=20)  # with lone surrogates, as odd file names have them
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=4)
IDS = st.none() | st.integers() | TEXTS
ALMOST = st.fixed_dictionaries(
    {}, optional={"jsonrpc": JSON | st.just("2.0"), "method": JSON | TEXTS, "params": JSON, "id": JSON}
).map(lambda message: json.dumps(message).encode())


def tried(line: bytes) -> Request | ProtocolError:
    try:
        return parse_request(line)
    except ProtocolError as error:
        return error


@given(st.binary(max_size=200) | ALMOST | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_request_or_a_protocol_error(line: bytes) -> None:
    tried(line)


@given(st.binary(max_size=200) | ALMOST)
def test_any_bytes_are_an_answer_or_a_protocol_error(line: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_answer(line)


@given(TEXTS, OBJECTS, IDS, st.booleans())
def test_a_request_comes_through_as_it_was(method: str, params: dict[str, object], id: object, answered: bool) -> None:
    request = Request(method, params, id if answered else None, answered)  # type: ignore[arg-type]
    line = format_request(request)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_request(line) == request


@given(IDS, JSON, OBJECTS, st.sampled_from(Code), TEXTS)
def test_every_answer_comes_through_as_it_was(
    id: int | str | None, value: object, data: dict[str, object], code: Code, text: str
) -> None:
    for answer in (Result(id, value), Failed(id, code, text, data), Progress(id, {**data, "request": id})):
        assert parse_answer(format_answer(answer)) == answer


@pytest.mark.parametrize(
    ("line", "code", "id"),
    [
        (b"", Code.PARSE, None),
        (b"GET / HTTP/1.1\r\n", Code.PARSE, None),
        (b"\xff\xfe{}", Code.PARSE, None),
        (b"[" * 60_000, Code.PARSE, None),
        (b'{"id":' + b"9" * 5000 + b"}", Code.PARSE, None),
        (b'{"jsonrpc":"2.0","method":"x","params":{"a":NaN}}', Code.PARSE, None),
        (b"[]", Code.INVALID_REQUEST, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', Code.INVALID_REQUEST, None),
        (b'{"id":1,"method":"ping"}', Code.INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', Code.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', Code.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":"a","method":7}', Code.INVALID_REQUEST, "a"),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":[1]}', Code.INVALID_PARAMS, "a"),
        (b" " * (MAX_REQUEST + 1), Code.INVALID_REQUEST, None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_used_is_refused_with_the_id_it_had(line: bytes, code: Code, id: object) -> None:
    error = tried(line)
    assert isinstance(error, ProtocolError)
    assert (error.code, error.id) == (code, id)


def test_a_request_without_an_id_wants_no_answer_but_one_with_a_null_id_does() -> None:
    assert not parse_request(b'{"jsonrpc":"2.0","method":"ping"}').answered
    assert parse_request(b'{"jsonrpc":"2.0","method":"ping","id":null}').answered


def test_what_is_not_json_cannot_be_answered_by_accident() -> None:
    with pytest.raises(ValueError):
        format_answer(Result(1, float("nan")))
