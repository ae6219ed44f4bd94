"""What only the server can limit: options for uvicorn, and a listening socket.

```python
config = uvicorn.Config("app:app", **server_options())
listener = listen("0.0.0.0", 8000)
await uvicorn.Server(config).serve(sockets=[listener])
```

Needs: the standard library, and uvicorn to run it.
"""

import socket
from typing import Any


def server_options() -> dict[str, Any]:
    """Limit what only the server can limit.

    Returns:
        Options for `uvicorn.Config` and `uvicorn.run`: a message has at most
        64 KiB (the default is 16 MiB), nothing is compressed (15 KiB could
        become 15 MiB), a client that does not answer a ping within 20 s is
        closed, and shutting down takes 15 s at most.
    """
    return {
        "ws_max_size": 64 * 1024,
        "ws_per_message_deflate": False,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "timeout_graceful_shutdown": 15,
    }


def listen(
    host: str, port: int, *, user_timeout: float = 30.0
) -> socket.socket:
    """Listen so that a client that takes nothing is dropped by the kernel.

    An app can stop waiting for such a client, but only the end of its TCP
    connection gives the file descriptor back (RFC 5482 §2).

    Args:
        host: Where to listen, an IPv4 address or a name.
        port: The port; 0 for one that is free.
        user_timeout: How long what was sent may wait, in seconds. Linux only;
            elsewhere it changes nothing.

    Returns:
        A socket for `uvicorn.Server.serve(sockets=[…])`.
    """
    listener = socket.create_server((host, port), backlog=2048)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted sockets inherit it
        milliseconds = int(user_timeout * 1000)
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds
        )
    return listener
