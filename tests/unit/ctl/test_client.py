"""What trapctl says to a trapd that is not of its own version."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trapd.control import methods
from trapd.control.protocol import SCHEMA, Code
from trapd.ctl.client import Client, UnreachableError


@pytest.fixture
def ends() -> Iterator[tuple[Client, socket.socket]]:
    mine, other = socket.socketpair()
    client = Client(Path("/run/trapd/control.sock"))
    client._socket = mine
    with mine, other:
        yield client, other


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        ('"result": {"schema": 1, "rollouts": []}', f"its answers have schema 1, not {SCHEMA}"),
        (f'"error": {{"code": {Code.UNKNOWN_METHOD}, "message": "no such command"}}', "it does not know status"),
    ],
)
def test_a_trapd_from_before_the_upgrade_has_to_be_restarted(
    ends: tuple[Client, socket.socket], answer: str, how: str
) -> None:
    """The trapctl that came with it is not there any more."""
    client, trapd = ends
    trapd.sendall(f'{{"jsonrpc": "2.0", "id": 1, {answer}}}\n'.encode())
    with pytest.raises(UnreachableError) as raised:
        client.ask(methods.STATUS({}))
    assert f"it is older than this trapctl ({how}), because it was not restarted after an upgrade" in str(raised.value)
    assert not raised.value.absent
