"""What tests and chapters share.

What runs in process is here. The real server is in `snippets.testing.server`,
one in a process of its own in `process`, the comparison of clients in
`witnesses`, and clients that misbehave in `faults`.
"""

from .client import Client, Closed, Refused
from .in_process import connect
from .tap import Tap

__all__ = ["Client", "Closed", "Refused", "Tap", "connect"]
