"""Mask passwords, so that none leaves trapd or a worker. Pure; this file travels with each snapshot."""

from __future__ import annotations

import re
from typing import TypeVar, cast

_T = TypeVar("_T")

# The separators of URLs: white space, or the sign before the next URL of a list, as in sentinel://...
_BETWEEN = re.compile(r"(\s+|[;,](?=\w+://))")
_USER = re.compile(r"://[^\s:/@]*:")
_PARAMETER = re.compile(r"(?<=[?&])([^\s?&=]*)=[^\s?&'\"]*")  # of a URL: redis://host?password=...
_SECRET = re.compile(r"pass|secret|token|key|^sig(nature)?$", re.IGNORECASE)


def mask(text: str) -> str:
    """Return the text with the password of every URL replaced by three stars, in time proportional to its length."""
    return _PARAMETER.sub(_masked_parameter, "".join(_masked_url(part) for part in _BETWEEN.split(text)))


def _masked_parameter(match: re.Match[str]) -> str:
    return f"{match[1]}=***" if _SECRET.search(match[1]) else match[0]


def _masked_url(text: str) -> str:
    """Mask up to the last "@": a password may contain any character, though a slash should be written %2F. This masks
    too much of http://host:80/a@b, which is better than to show a password."""
    user, end = _USER.search(text), text.rfind("@")
    return text if user is None or end < user.end() else f"{text[: user.end()]}***{text[end:]}"


def masked(document: _T) -> _T:
    """Return a JSON value with every text in it masked, except the names of members."""
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
