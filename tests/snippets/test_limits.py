"""How large, how fast, how long and how idle: each limit, and just there."""

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
from litestar.exceptions import WebSocketDisconnect, WebSocketException

from snippets.limits import (
    Limited,
    TokenBucket,
    limit_size,
    within,
)
from snippets.messages import (
    Ack,
    ClientMessage,
    Error,
    ErrorCode,
    MessageError,
    ServerMessage,
    converse,
    formats,
)
from snippets.testing.clock import SKIPPING

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return SKIPPING


class Say(ClientMessage, tag="say", frozen=True):
    text: str = ""


class Line:
    """A socket, with what has come and what was sent."""

    id = "c0ffee"

    def __init__(self, *come: object) -> None:
        self.come: asyncio.Queue[Any] = asyncio.Queue()
        for message in come:
            self.come.put_nowait(message)
        self.sent: list[Any] = []

    async def receive_message(self) -> Any:
        message = await self.come.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send_message(self, message: Any, /) -> None:
        self.sent.append(message)


GONE = WebSocketDisconnect(detail="gone")

# -- how fast ----------------------------------------------------------------


async def test_a_bucket_has_room_for_a_burst_and_then_for_a_rate():
    """Limits: ten messages a second, twenty at once."""
    bucket = TokenBucket()
    assert [bucket.take() for _ in range(20)] == [0] * 20
    assert bucket.take() == pytest.approx(0.1)
    assert bucket.take() == pytest.approx(0.1)
    taken = 0
    for _ in range(1000):
        await asyncio.sleep(0.01)
        taken += not bucket.take()
    assert taken == 100


@pytest.mark.parametrize("rate", [0.3, 1.0, 3.0, 7.7, 10.0, 1e3])
async def test_who_waits_as_long_as_told_is_not_too_early(rate: float):
    """Limits: who waits for `retry_after` seconds is heard."""
    clock = asyncio.get_running_loop()
    await asyncio.sleep(1e6 / 7)  # where floats have fewer digits to spare
    bucket = TokenBucket(rate, burst=1)
    assert bucket.take() == 0
    for _ in range(100):
        begun = clock.time()
        await asyncio.sleep(bucket.take())
        assert bucket.take() == 0
        assert clock.time() - begun == pytest.approx(1 / rate, abs=1e-5)


async def test_tokens_come_back_while_messages_wait():
    bucket = TokenBucket(rate=10, burst=20)
    taken = [bucket.take(waited=3) == 0 for _ in range(100)]
    assert taken == [True] * 50 + [False] * 50


async def test_what_is_refused_costs_no_token():
    bucket = TokenBucket(rate=1, burst=1)
    bucket.take()
    for _ in range(10):
        await asyncio.sleep(0.09)
        assert bucket.take() > 0
    await asyncio.sleep(0.1)
    assert bucket.take() == 0


async def test_a_bucket_gets_no_fuller_than_full():
    bucket = TokenBucket(rate=10, burst=2)
    bucket.take()
    await asyncio.sleep(3600)
    assert [bucket.take() == 0 for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("rate", "burst"), [(0, 1), (-1, 1), (math.nan, 1), (1, 0), (1, -1)]
)
def test_a_bucket_that_lets_nothing_through_is_an_error(
    rate: float, burst: int
):
    with pytest.raises(ValueError, match="rate above 0 and a burst of at"):
        TokenBucket(rate, burst)


async def test_who_is_too_fast_is_told_when_to_try_again():
    """Limits: who floods gets `rate_limited`, with `retry_after`, and after 30
    of these is closed with 4429.
    """
    limited = Limited(Line(Say("1"), Say("2", ref=2), Ack(3)), rate=3, burst=1)
    assert await limited.receive_message() == Say("1")
    for ref in (2, 3):
        with pytest.raises(MessageError) as caught:
            await limited.receive_message()
        assert caught.value.envelope == Error(
            ErrorCode.RATE_LIMITED,
            "too many messages in too short a time",
            True,
            ref,
            0.334,
        )
    assert caught.value.code == 4429


async def test_who_tries_again_when_told_is_heard():
    line = Line()
    limited = Limited(line)
    refused = 0
    for number in range(200):
        line.come.put_nowait(Say(ref=number))
        try:
            await limited.receive_message()
        except MessageError as error:
            refused += 1
            assert error.envelope.retry_after is not None
            await asyncio.sleep(error.envelope.retry_after)
            line.come.put_nowait(Say(ref=number))
            assert (await limited.receive_message()).ref == number
    assert refused == 180


@pytest.mark.parametrize("busy", [0.05, 2.5, 4.9])
async def test_who_keeps_to_the_rate_is_heard_however_busy_we_are(busy: float):
    """Limits: what piles up while a handler is busy is not too fast."""
    line, clock = Line(), asyncio.get_running_loop()
    limited = Limited(line)
    for number in range(200):
        clock.call_later(number / 10, line.come.put_nowait, Say(ref=number))
    for number in range(200):
        assert (await limited.receive_message()).ref == number
        if number in {3, 60, 61}:
            await asyncio.sleep(busy)


async def test_who_floods_a_busy_handler_gains_nothing_but_that_time():
    """Limits: twenty at once, and ten for each second that it took."""
    line, clock = Line(Say()), asyncio.get_running_loop()
    limited = Limited(line)
    await limited.receive_message()
    clock.call_later(50, line.come.put_nowait, Say())
    await limited.receive_message()
    for number in range(100):
        line.come.put_nowait(Say(ref=number))
    await asyncio.sleep(3)
    for _ in range(49):
        await limited.receive_message()
    for _ in range(10):
        with pytest.raises(MessageError):
            await limited.receive_message()


async def test_time_in_which_nothing_came_counts_for_nobody():
    line, clock = Line(), asyncio.get_running_loop()
    limited = Limited(line)
    line.come.put_nowait(Say())
    await limited.receive_message()
    await asyncio.sleep(3)  # busy, and nobody waits
    for _ in range(100):
        clock.call_later(3, line.come.put_nowait, Say())
    for _ in range(20):
        await limited.receive_message()
    with pytest.raises(MessageError):
        await limited.receive_message()


async def test_nonsense_after_a_silence_buys_no_burst():
    line, clock = Line(Say()), asyncio.get_running_loop()
    limited = Limited(line)
    await limited.receive_message()
    nonsense = MessageError(ErrorCode.INVALID_JSON, "what?")
    clock.call_later(50, line.come.put_nowait, nonsense)
    with pytest.raises(MessageError):
        await limited.receive_message()
    for _ in range(100):
        line.come.put_nowait(Say())
    for _ in range(20):
        await limited.receive_message()
    with pytest.raises(MessageError, match="too many"):
        await limited.receive_message()


async def test_what_a_limited_socket_sends_is_sent():
    line = Line()
    limited = Limited(line)
    await limited.send_message(Ack(7))
    assert (limited.id, line.sent) == ("c0ffee", [Ack(7)])


async def test_who_floods_is_answered_and_then_closed():
    """Limits: who floods gets `rate_limited`, with `retry_after`, and after 30
    of these is closed with 4429.
    """
    line = Line(*[Say(ref=number) for number in range(100)])

    async def hear(message: ClientMessage) -> None:
        pass

    with pytest.raises(WebSocketException) as caught:
        await converse(Limited(line), hear)
    assert caught.value.code == 4429
    assert [type(answer) for answer in line.sent] == [Ack] * 20 + [Error] * 29
    assert line.come.qsize() == 50


async def test_who_sends_too_much_too_often_is_closed():
    """Limits: after 30 that are too large, the connection ends with 1009."""
    large = [MessageError(ErrorCode.TOO_LARGE, "less") for _ in range(31)]
    line = Line(*large)

    async def hear(message: ClientMessage) -> None:
        raise AssertionError

    with pytest.raises(WebSocketException) as caught:
        await converse(line, hear)
    assert caught.value.code == 1009
    assert [type(answer) for answer in line.sent] == [Error] * 29


# -- how idle ----------------------------------------------------------------


async def test_who_says_nothing_is_closed():
    """Limits: who says nothing for too long is closed with 4408."""
    clock = asyncio.get_running_loop()
    limited = Limited(Line(Say()))
    await limited.receive_message()
    begun = clock.time()
    with pytest.raises(WebSocketException, match="for 60 s") as caught:
        await limited.receive_message()
    assert caught.value.code == 4408
    assert clock.time() - begun == pytest.approx(60, abs=0.1)


async def test_time_begins_anew_with_each_message():
    line = Line()
    limited = Limited(line, idle_timeout=2)
    clock = asyncio.get_running_loop()
    for number in range(5):
        clock.call_later(1.9, line.come.put_nowait, Say(ref=number))
        assert (await limited.receive_message()).ref == number
        await asyncio.sleep(5)  # while we are busy it is not idle


async def test_what_comes_when_time_is_up_has_come():
    """Limits: a message that comes just when time is up is heard."""
    line = Line()
    limited = Limited(line, idle_timeout=2)
    clock = asyncio.get_running_loop()
    clock.call_later(2, line.come.put_nowait, Say("first"))
    receiving = asyncio.ensure_future(limited.receive_message())
    assert await receiving == Say("first")
    receiving = asyncio.ensure_future(limited.receive_message())
    await asyncio.sleep(0)
    clock.call_later(2, line.come.put_nowait, Say("last"))
    assert await receiving == Say("last")


class Polite(Line):
    """Lets others go first, as the sockets of `ConnectionManager` do."""

    async def receive_message(self) -> Any:
        await asyncio.sleep(0)
        return await super().receive_message()


async def test_what_has_come_is_heard_also_if_others_go_first():
    line, clock = Polite(), asyncio.get_running_loop()
    limited = Limited(line, idle_timeout=2)
    clock.call_later(2, line.come.put_nowait, Say("just in time"))
    assert await limited.receive_message() == Say("just in time")


@pytest.mark.parametrize("error", [GONE, TimeoutError("theirs"), OSError()])
async def test_what_a_socket_raises_is_raised(error: Exception):
    with pytest.raises(type(error)) as caught:
        await Limited(Line(error)).receive_message()
    assert caught.value is error


async def test_receiving_can_be_cancelled():
    line = Line()
    receiving = asyncio.ensure_future(Limited(line).receive_message())
    await asyncio.sleep(1)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    line.come.put_nowait(Say())
    assert await Limited(line).receive_message() == Say()


# -- how large ---------------------------------------------------------------

AS_IS = formats("chat", Say)
SMALL = limit_size(AS_IS, 40)
FRAME = len('{"type":"say","text":""}')


def test_sizes_change_nothing_else():
    for limited, as_is in zip(SMALL, AS_IS, strict=True):
        assert (limited.name, limited.mode) == (as_is.name, as_is.mode)
        message = Say("tea?", ref=7)
        assert limited.encode(message) == as_is.encode(message)
        assert limited.decode(as_is.encode(message)) == message
        with pytest.raises(MessageError) as caught:
            limited.decode(b"\xc1")
        assert caught.value.envelope.code != ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    ("text", "size"), [("x", 1), ("é", 2), ("茶", 3), ("🫖", 4), ("\ud800", 3)]
)
def test_a_message_is_as_large_as_its_bytes(text: str, size: int):
    """Limits: a text is as large as its UTF-8."""
    as_json = limit_size(AS_IS, FRAME + 2 * size)[0]
    said = '{"type":"say","text":"%s"}'
    if text.isprintable():
        assert as_json.decode(said % (text * 2)) == Say(text * 2)
    for more in (text * 3, text * 2 + "x"):
        with pytest.raises(MessageError) as caught:
            as_json.decode(said % more)
        assert caught.value.envelope.code == ErrorCode.TOO_LARGE
    assert caught.value.envelope.message == (
        f"expected at most {FRAME + 2 * size} bytes, "
        f"but got {FRAME + 2 * size + 1}"
    )


def test_a_message_may_have_16_kib():
    """Limits: a message of more than 16 KiB is answered with `too_large`, and
    the connection lives.
    """
    for form in limit_size(AS_IS):
        empty = len(form.encode(Say()))
        longest = Say("x" * (2**14 - empty))
        while len(form.encode(longest)) > 2**14:  # its length takes room, too
            longest = Say(longest.text[1:])
        payload = form.encode(longest)
        assert len(payload) == 2**14
        assert form.decode(payload) == longest
        with pytest.raises(MessageError) as caught:
            form.decode(form.encode(Say(longest.text + "x")))
        assert caught.value.envelope.code == ErrorCode.TOO_LARGE
        assert caught.value.code == 1009


def test_what_is_too_large_is_not_decoded():
    def decode(payload: object) -> Say:
        raise AssertionError

    [unread] = limit_size([replace(AS_IS[0], decode=decode)], 40)
    for payload in ("x" * 41, b"x" * 41, "é" * 21):
        with pytest.raises(MessageError):
            unread.decode(payload)


# -- how long ----------------------------------------------------------------


class Slow:
    """Answers when it has waited for as long as it is told."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def answer(self, message: Say) -> ServerMessage | None:
        try:
            await asyncio.sleep(float(message.text))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Ack(message.text)


async def test_a_handler_has_so_much_time():
    """Limits: a handler that takes too long is cancelled and answered with
    `timeout`, and the connection lives.
    """
    slow, clock = Slow(), asyncio.get_running_loop()
    line = Line(Say("4.9"), Say("9", ref=7), Say("1"), GONE)
    begun = clock.time()
    await converse(line, within(5, slow.answer))
    assert line.sent == [
        Ack("4.9"),
        Error(ErrorCode.TIMEOUT, "this took longer than 5 s", True, 7),
        Ack("1"),
    ]
    assert slow.cancelled == 1
    assert clock.time() - begun == pytest.approx(10.9)


async def test_a_time_out_of_a_handler_is_its_own():
    async def answer(message: Say) -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)

    with pytest.raises(TimeoutError):
        await within(5, answer)(Say())


async def test_who_is_cancelled_while_answering_is_cancelled():
    slow = Slow()
    answering = asyncio.ensure_future(within(5, slow.answer)(Say("4")))
    await asyncio.sleep(1)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert slow.cancelled == 1
