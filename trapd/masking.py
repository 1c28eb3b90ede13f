"""No password leaves trapd, nor a worker. Pure; it travels with each snapshot."""

from __future__ import annotations

import re
from typing import TypeVar, cast

_T = TypeVar("_T")

# What may be one URL: what stands between white space, or before the next URL of a list as sentinel://... has it.
_BETWEEN = re.compile(r"(\s+|[;,](?=\w+://))")
_USER = re.compile(r"://[^\s:/@]*:")
_PARAMETER = re.compile(r"(?<=[?&])([^\s?&=]*)=[^\s?&'\"]*")  # of a URL: redis://host?password=...
_SECRET = re.compile(r"pass|secret|token|key|^sig(nature)?$", re.IGNORECASE)


def mask(text: str) -> str:
    """The text with the password of every URL in it replaced by three stars, in time proportional to its length."""
    return _PARAMETER.sub(_masked_parameter, "".join(_masked_url(part) for part in _BETWEEN.split(text)))


def _masked_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}=***" if _SECRET.search(found[1]) else found[0]


def _masked_url(text: str) -> str:
    """Up to the last "@": a password may hold any sign, though it should be written %2F. That spoils the look of
    http://host:80/a@b, which is better than to show a password."""
    user, end = _USER.search(text), text.rfind("@")
    return text if user is None or end < user.end() else f"{text[: user.end()]}***{text[end:]}"


def masked(document: _T) -> _T:
    """A JSON value with every text in it masked, names of members excepted."""
    return cast(_T, _masked(document))


def _masked(value: object) -> object:
    match value:
        case str():
            return mask(value)
        case dict():
            return {name: _masked(member) for name, member in value.items()}
        case list() | tuple():
            return [_masked(item) for item in value]
        case _:
            return value
