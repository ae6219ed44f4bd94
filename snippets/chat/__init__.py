"""A web page for the chat: plain HTML, CSS and JavaScript.

It sends `{"type": "say", "text": …}`, shows `{"from": …, "text": …}` and, if
there are such messages, who is here, `{"here": […]}`, and why something was
not taken, `{"type": "error", "message": …}`. If these have a `room`, it shows
rooms, joins and leaves them: `{"type": "join", "room": …, "ref": …}`, answered
with `{"type": "ack", "ref": …}`. It connects to `chat/<name>`, seen from where
the page is. Any server can serve it; with Litestar:

```python
page = create_static_files_router("/", [PAGE.parent], html_mode=True)
app = Litestar([chat, page])
```

The name is asked for, or comes with the address: `index.html#Ann`.

Needs: a browser of 2024 or later, where a WebSocket's address may be relative.
"""

from pathlib import Path

PAGE = Path(__file__).with_name("index.html")
"""The page; its stylesheet and its script lie beside it."""
