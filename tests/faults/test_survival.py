"""The table of chapter 11: which snippet survives which fault.

Ours survives all. What people copy does not, which also shows that a fault
that is survived was one.
"""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest

from snippets.testing.server import serve
from survival import FAULTS, ON_THE_WIRE, SNIPPETS, Survival, survival

PLAIN: dict[str, Any] = {"ws_per_message_deflate": False}
HOSTS: dict[str, Any] = {
    "in process": nullcontext,
    "sansio": partial(serve, ws="websockets-sansio", **PLAIN),
    "wsproto": partial(serve, ws="wsproto", **PLAIN),
}

NOBODY_HEARS = ["Ada hears nothing", "Bob hears nothing"]
ADA_CLOSED, UNTOLD = "Ada is closed, 4500", "Eve is not told"
EVE_CLOSED, STAYS = "Eve is closed, 4500", "gone, but a member"
ALL_HEAR = ["all hear all of it"]
WRONG = {
    # SetAndLoop, Gather, GatherWithTimeout
    "a stalled reader": (
        NOBODY_HEARS,
        NOBODY_HEARS,
        ["Eve misses some, untold"],
    ),
    "a vanished client": ([ADA_CLOSED, STAYS], [], []),
    "a flood": (ALL_HEAR, ALL_HEAR, ALL_HEAR),
    "64 KiB at once": (ALL_HEAR, ALL_HEAR, ALL_HEAR),
    "garbage": (
        [ADA_CLOSED, EVE_CLOSED, STAYS],
        [EVE_CLOSED, STAYS],
        [EVE_CLOSED, STAYS],
    ),
    "a bug in a handler": (
        [ADA_CLOSED, EVE_CLOSED, STAYS],
        [EVE_CLOSED, STAYS],
        [EVE_CLOSED, STAYS],
    ),
    "a slow handler": ([ADA_CLOSED, UNTOLD, STAYS], [UNTOLD], [UNTOLD]),
    "a join meanwhile": ([ADA_CLOSED, STAYS], [], []),
}


@pytest.mark.parametrize("host", HOSTS)
async def test_ours_survives_what_the_copied_ones_do_not(host: str):
    faults = FAULTS if host == "in process" else ON_THE_WIRE
    table = await survival(faults, HOSTS[host])
    assert table.troubles == {
        fault: dict(zip(SNIPPETS, (*WRONG[fault], []), strict=True))
        for fault in faults
    }


def test_the_table_says_what_was_wrong():
    table = Survival({"tea": {"SetAndLoop": ["<no> cup", "cold"], "ours": []}})
    assert repr(table).splitlines() == [
        "tea",
        "  SetAndLoop        <no> cup; cold",
        "  ours              holds",
    ]
    shown = table._repr_mimebundle_()
    assert (
        "<td>&lt;no&gt; cup<br>cold</td><td>✓ holds</td>"
        in (shown["text/html"])
    )
    assert shown["text/plain"] == repr(table)
