"""What no WebSocket client may send, and what a server has to do about it.

Each violation is bytes to be sent on an open connection, so a test can go
through all:

```python
for name, violation in VIOLATIONS.items():
    async with raw(server, "/echo") as client:
        await client.send_bytes(violation.data)
        await client.resume()
        assert client.closed.code in {violation.code, 1006}, name
```

A server has to fail the connection: to close it, with a close frame that says
why if it likes to (RFC 6455 §7.1.7), and to look at nothing that comes later.

Needs: `wire.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from .wire import Opcode, frame

LARGE = 64 * 1024
"""What `too large` is larger than, in bytes; your server's limit may differ.

The limit of uvicorn is its option `ws_max_size`, 16 MiB unless you say so.
"""


class Violation(NamedTuple):
    """Something that no client may send.

    Attributes:
        data: What is sent.
        code: The close code that says so (RFC 6455 §7.4.1).
        section: Where RFC 6455 forbids it.
    """

    data: bytes
    code: int
    section: str


def _close(code: int, reason: bytes = b"") -> bytes:
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason)


_TEXT = Opcode.TEXT
_NO_MASK = bytes(4)

VIOLATIONS: Mapping[str, Violation] = MappingProxyType(
    {
        "unmasked frame": Violation(
            frame(_TEXT, b"hello", masked=False), 1002, "5.1"
        ),
        "reserved bit 1": Violation(
            frame(_TEXT, b"hello", reserved=4), 1002, "5.2"
        ),
        "reserved bit 2": Violation(
            frame(_TEXT, b"hello", reserved=2), 1002, "5.2"
        ),
        "reserved bit 3": Violation(
            frame(_TEXT, b"hello", reserved=1), 1002, "5.2"
        ),
        "reserved opcode 3": Violation(frame(3, b"hello"), 1002, "5.2"),
        "reserved opcode 15": Violation(frame(15, b"hello"), 1002, "5.2"),
        "length with the top bit set": Violation(
            b"\x81\xff\x80" + bytes(7) + _NO_MASK, 1002, "5.2"
        ),
        "length in too many bytes": Violation(
            b"\x81\xfe\x00\x05" + _NO_MASK + b"hello", 1002, "5.2"
        ),
        "continuation of nothing": Violation(
            frame(Opcode.CONTINUATION, b"hello"), 1002, "5.4"
        ),
        "message inside another": Violation(
            frame(_TEXT, b"one", fin=False) + frame(_TEXT, b"two"), 1002, "5.4"
        ),
        "ping in fragments": Violation(
            frame(Opcode.PING, b"hello", fin=False), 1002, "5.5"
        ),
        "ping of 126 bytes": Violation(
            frame(Opcode.PING, b"x" * 126), 1002, "5.5"
        ),
        "close with half a code": Violation(
            frame(Opcode.CLOSE, b"\x03"), 1002, "5.5.1"
        ),
        "close code 999": Violation(_close(999), 1002, "7.4.2"),
        "close code 1005": Violation(_close(1005), 1002, "7.4.1"),
        "close code 1006": Violation(_close(1006), 1002, "7.4.1"),
        "close code 5000": Violation(_close(5000), 1002, "7.4.2"),
        "close reason that is not UTF-8": Violation(
            _close(1000, b"\xff"), 1007, "5.5.1"
        ),
        "text that is not UTF-8": Violation(
            frame(_TEXT, b"\xff"), 1007, "8.1"
        ),
        "text with half a surrogate pair": Violation(
            frame(_TEXT, b"\xed\xa0\x80"), 1007, "8.1"
        ),
        "too large": Violation(
            frame(_TEXT, b"x" * (LARGE + 1)), 1009, "7.4.1"
        ),
    }
)
"""All violations, by name."""
