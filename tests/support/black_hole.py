"""A way to a server on which everything stops at a word: no data, no end, no refusal, as when packets are dropped.

The kernel still takes what the client sends, until its buffers are full, and still lets it connect; the server hears
nothing and nothing comes back.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16


class BlackHole:
    """Listens on a port of its own and passes everything on to ``port``, both on 127.0.0.1, unless it is closed."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = threading.Event()  # for those that connect now
        self._open.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def swallow(self) -> None:
        """From now on nothing passes."""
        self._open.clear()

    def swallow_present(self) -> None:
        """Nothing passes on the connections that there are; who connects from now on has a way."""
        self._open.clear()
        self._open = threading.Event()
        self._open.set()

    def strand(self) -> None:
        """The connections that there are end. Who connects from now on is accepted and hears nothing for ever, until
        ``swallow_present`` lets those have a way who come even later."""
        self._open.clear()
        self._end(*self._sockets)

    def vanish(self) -> None:
        """As when the server ends: the connections end, and nobody can connect, until ``pass_on``."""
        self._end(self._listener, *self._sockets)
        self._listener.close()  # which its thread may not wait on any more: hence the shutdown before

    def pass_on(self) -> None:
        """Everything passes again, but what ``swallow_present`` cut; what was sent meanwhile comes late."""
        self._open.set()
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listen()

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(self._listener, *self._sockets)
        for one in [self._listener, *self._sockets]:
            one.close()
        self._open.set()

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._sockets.append(client)
                threading.Thread(target=self._connect, args=(client, self._open), daemon=True).start()

    def _connect(self, client: socket.socket, way: threading.Event) -> None:
        way.wait()
        with contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._to))
            self._sockets.append(server)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, target, way), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, way: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                way.wait()
                target.sendall(data)
        self._end(source, target)
