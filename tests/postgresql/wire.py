"""A wire to a server that counts round trips, and that can be cut at a moment of one's choosing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

__all__ = ["Wire", "wire"]


class Wire:
    """Forwards connections. A round trip: the client speaks, the server answers."""

    def __init__(self, url: str) -> None:
        self._target = sa.make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        here = self._target.set(host="127.0.0.1", port=port)
        self.url = here.render_as_string(hide_password=False)
        self._sockets: list[socket.socket] = []
        self.trips = 0
        self.swallow: bytes | None = None
        """Once the client has said this, the answer is lost, and the connection with it."""
        self.refuses = False
        """Whether new connections are broken at once."""
        threading.Thread(target=self._accept, daemon=True).start()

    def trips_of(self, action: Any) -> int:
        """How many round trips an action takes."""
        before = self.trips
        action()
        return self.trips - before

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections."""
        for open_ in self._sockets:
            _shut(open_)
        self._sockets.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                if self.refuses:
                    _shut(client)
                    continue
                server = socket.create_connection((self._target.host, self._target.port or 5432))
            except OSError:
                return
            self._sockets += [client, server]
            _Pair(self, client, server)


class _Pair:
    """One connection and its two directions, a thread each."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire, self._client, self._server = wire, client, server
        self._asked = self._doomed = False
        for pump in (self._forth, self._back):
            threading.Thread(target=pump, daemon=True).start()

    def _forth(self) -> None:
        for data in _received(self._client):
            if not self._asked:
                self._asked = True
                self._wire.trips += 1
            if self._wire.swallow is not None and self._wire.swallow in data:
                self._wire.swallow, self._doomed = None, True
            _send(self._server, data)
        _shut(self._server)

    def _back(self) -> None:
        for data in _received(self._server):
            if self._doomed:
                break
            self._asked = False
            _send(self._client, data)
        _shut(self._client)
        _shut(self._server)


def _received(source: socket.socket) -> Iterator[bytes]:
    try:
        while data := source.recv(1 << 16):
            yield data
    except OSError:
        return


def _send(target: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # gone; the other direction ends, too
        target.sendall(data)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    """A wire to the server of a URL."""
    made = Wire(url)
    try:
        yield made
    finally:
        made.close()
