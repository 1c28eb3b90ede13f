"""No password leaves trapd. Pure: also used by trapctl for what it prints of its own."""

from __future__ import annotations

import re
from typing import Any

# Of amqp://user:password@host the middle part; user and password may be empty, the password may hold ":" and "@".
_URL = re.compile(r"""(?P<before>\w://[^\s:/?#'"@]*):[^\s/?#'"]*@""")
# A "/" in a password should be written %2F, and is not always: then the text up to the last "@" of the word goes.
# That spoils the look of http://host:80/a@b, which is better than to show a password.
_ODD_URL = re.compile(r"""(?P<before>\w://[^\s:/?#'"@]*):(?!\*\*\*@)[^\s'"]*@""")


def mask(text: str) -> str:
    """The text with the password of every URL in it replaced by three stars."""
    return _ODD_URL.sub(r"\g<before>:***@", _URL.sub(r"\g<before>:***@", text))


def masked(document: Any) -> Any:
    """A JSON value with every text in it masked, names of members excepted."""
    match document:
        case str():
            return mask(document)
        case dict():
            return {name: masked(value) for name, value in document.items()}
        case list() | tuple():
            return [masked(value) for value in document]
        case _:
            return document
