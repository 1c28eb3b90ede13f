"""The control socket: /run/trapd/control.sock, open to everybody; what one may do is by credentials (rights.py)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from trapd.control.commands import Caller, Commands
from trapd.control.connection import Connection, Patience
from trapd.control.protocol import MAX_REQUEST, Code, Failed, format_answer
from trapd.control.rights import Rights
from trapd.errors import TrapdError
from trapd.peer import Peer, peer_of

_BACKLOG = 64
# Connections at once, so that one user cannot keep the others out. Nor himself: a new one takes the place of the oldest
# that is idle, or 32 forgotten ones of root would shut root out.
_PER_USER = 32


class ControlServer:
    """Answers on ``path`` from ``open`` until ``close``. Both may be called once."""

    def __init__(
        self,
        path: Path,
        *,
        commands: Commands,
        rights: Rights | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._path, self._commands = path, commands
        self._rights = rights or Rights(own_uid=os.geteuid())
        self._patience = patience or Patience()
        self._server: asyncio.Server | None = None
        self._inode: int | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._of_user: dict[int, list[Connection]] = {}  # the oldest first

    async def open(self) -> None:
        """Listen. Raises TrapdError if another trapd answers there or something else is in the way."""
        listening, self._inode = await asyncio.to_thread(_listen, self._path)
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=MAX_REQUEST)

    async def keep_listening(self) -> bool:
        """Listen again if the socket was removed; True if it was. Raises TrapdError, as ``open`` does.

        Connections that are there stay; those that nobody has accepted yet are lost with the old socket.
        """
        if self._server is None or await asyncio.to_thread(_leads_to, self._path, self._inode):
            return False
        self._server.close()
        await self.open()
        return True

    async def close(self) -> None:
        """Stop listening, give up what is under way, remove the socket. Does nothing if it was never opened."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.to_thread(_remove, self._path, self._inode)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # a plain function: asyncio of 3.11 logs an error when a coroutine given here is cancelled
        try:
            peer = peer_of(writer.get_extra_info("socket"))
        except OSError:  # gone again already
            return writer.close()
        others = self._of_user.setdefault(peer.uid, [])
        if len(others) >= _PER_USER and (spare := next((one for one in others if one.idle), None)):
            others.remove(spare)
            spare.displace()
        if len(others) >= _PER_USER:
            text = f"cannot serve more than {_PER_USER} connections of one user at once: try again later"
            writer.write(format_answer(Failed(None, Code.REFUSED, text)))
            return writer.close()
        connection = Connection(reader, writer, self._commands, self._caller_behind(peer), self._patience)
        others.append(connection)
        task = asyncio.create_task(self._serve(connection, peer), name=f"control pid {peer.pid}")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return None

    def _caller_behind(self, peer: Peer) -> Callable[[], Awaitable[Caller]]:
        async def caller() -> Caller:
            if peer.uid == 0:
                return Caller("root", admin=True)
            return await asyncio.to_thread(self._rights.caller, peer)

        return caller

    async def _serve(self, connection: Connection, peer: Peer) -> None:
        try:
            await connection.serve()
        finally:
            others = self._of_user.get(peer.uid, [])
            if connection in others:  # not so if it was displaced
                others.remove(connection)
            if not others:
                self._of_user.pop(peer.uid, None)


def _listen(path: Path) -> tuple[socket.socket, int]:
    """A listening socket, and the number of its inode. Raises TrapdError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        make_folder(path.parent)
        _replace_stale(path)
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
        return listening, path.lstat().st_ino
    except OSError as error:
        listening.close()
        raise TrapdError(
            f"cannot listen on {path}: {error.strerror or error}; see [trapd] runtime_directory"
        ) from error
    except TrapdError:
        listening.close()
        raise


def make_folder(folder: Path) -> None:
    """One that everybody may pass through, unless it is there already. Raises OSError."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return  # made by systemd or by an administrator: its mode is theirs
    folder.chmod(0o755)  # whatever the umask: who may do what is decided by credentials


def _replace_stale(path: Path) -> None:
    """Remove what a killed trapd left. Raises TrapdError for a socket that answers, or what is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise TrapdError(f"cannot listen on {path}: that is not a socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)  # a full backlog says EAGAIN: somebody lives there, if busily
        if asking.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise TrapdError(
                f"cannot listen on {path}: another trapd answers there; stop it first, or set [trapd] runtime_directory"
            )
    path.unlink(missing_ok=True)


def _leads_to(path: Path, inode: int | None) -> bool:
    try:
        return path.lstat().st_ino == inode
    except OSError:
        return False


def _remove(path: Path, inode: int | None) -> None:
    """Remove our socket, but not that of a successor."""
    if _leads_to(path, inode):
        path.unlink(missing_ok=True)
