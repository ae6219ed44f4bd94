"""The Python side of a chapter that runs in the reader's tab."""

from typing import TYPE_CHECKING

from .outputs import Post

if TYPE_CHECKING:
    from .kernel import Kernel
    from .sockets import Sockets


async def start(post: Post) -> tuple["Kernel", "Sockets"]:
    """Make this Python ready to run chapters.

    Args:
        post: Sends a message to the page.

    Returns:
        What runs cells, and what connects web pages with the cells' apps.
    """
    # The shims go first: libraries keep what they find when they are imported.
    from . import shims  # noqa: PLC0415

    shims.apply()
    import litestar  # noqa: F401, PLC0415 - every chapter needs it

    from .kernel import Kernel  # noqa: PLC0415
    from .sockets import Sockets  # noqa: PLC0415

    kernel = Kernel(post)
    sockets = Sockets(post, lambda: kernel.outputs.chapter)
    sockets.install()
    return kernel, sockets
