"""Many clients in one process that only count what they get.

They read raw bytes, all of them every few milliseconds, and sleep in between:
a client that waits for each frame would have to be woken by the server, and
on one machine that is billed to the server. Commands come as lines of JSON,
and each is answered with one.
"""

import json
import resource
import select
import socket
import sys
import time
from typing import Any

PAUSE = 0.005
"""Seconds between two looks at all sockets."""
AT_ONCE = bytearray(2**20)
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Clients:
    """All the clients of one server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets: list[socket.socket] = []

    def connect(self, count: int, *, deflate: bool = False) -> dict[str, Any]:
        """Open connections, one after the other, up to the 101."""
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self.port))
            client.sendall(REQUEST % (DEFLATE if deflate else b""))
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 101"), answer
            client.setblocking(False)
            self.sockets.append(client)
        return {"open": len(self.sockets)}

    def leave(self, count: int) -> dict[str, Any]:
        """Go without a word, the oldest first."""
        for client in self.sockets[:count]:
            client.close()
        del self.sockets[:count]
        return {"open": len(self.sockets)}

    def read(
        self, expected: int, *, stalled: int = 0, patience: float = 60
    ) -> dict[str, Any]:
        """Read until each has so many bytes, or nothing comes any more.

        Args:
            expected: Bytes that each client is owed.
            stalled: How many of them do not read, the newest ones.
            patience: Seconds without a byte for anybody, after which the
                rest is given up.

        Returns:
            Bytes in all, seconds from the first to the last of them, and how
            many of these this process was busy.
        """
        reading = self.sockets[: len(self.sockets) - stalled]
        owed = {client.fileno(): expected for client in reading}
        clients = {client.fileno(): client for client in reading}
        poll = select.epoll()
        for number in owed:
            poll.register(number, select.EPOLLIN)
        got, started, last, busy = 0, 0.0, time.perf_counter(), (0.0, 0.0)
        while owed and time.perf_counter() < last + patience:
            if ready := poll.poll(0):
                started = started or time.perf_counter()
                last = time.perf_counter()
                busy = busy[0] or time.process_time(), busy[1]
            for number, _ in ready:
                size = received(clients[number])
                got += size
                owed[number] -= size
                if owed[number] <= 0 or not size:
                    poll.unregister(number)
                    del owed[number]
            if ready:
                busy = busy[0], time.process_time()
            time.sleep(PAUSE)
        poll.close()
        return {
            "bytes": got,
            "seconds": last - started,
            "busy": busy[1] - busy[0],
        }


def received(client: socket.socket) -> int:
    """Throw away what has come, and say how much it was."""
    try:
        return client.recv_into(AT_ONCE)
    except ConnectionError:
        return 0


def raise_limits() -> None:
    """Allow as many open sockets as the machine does."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Obey until there is nobody to obey."""
    raise_limits()
    clients = Clients(int(sys.argv[1]))
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(clients, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
