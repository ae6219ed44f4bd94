"""The chat's page, in a real browser, with the chat of several chapters."""

import json
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from litestar import Litestar, WebSocket, websocket
from litestar.static_files import create_static_files_router
from playwright.async_api import (
    Browser,
    FrameLocator,
    Locator,
    Page,
    async_playwright,
    expect,
)

from snippets.chat import PAGE
from snippets.testing.browser import Pane, panes
from snippets.testing.server import serve
from system import (
    listeners,
    message_contract,
    pushing_and_receiving,
    rooms,
    streams,
    transport_modes,
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
OVERFLOW = "html => html.scrollWidth - html.clientWidth"
expect.set_options(timeout=30_000)  # on a machine with other things to do


@pytest.fixture(scope="module")
async def chromium(anyio_backend: str) -> AsyncGenerator[Browser]:
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    assert found, f"no browser found, looked for {', '.join(BROWSERS)}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found[0], args=FLAGS
        )
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncGenerator[Page]:
    errors: list[Any] = []

    def note(error: Any) -> None:
        errors.append(error)

    page = await chromium.new_page()
    page.on("pageerror", note)
    yield page
    await page.close()
    assert errors == []


@asynccontextmanager
async def chatting(
    page: Page, app: Litestar, *names: str
) -> AsyncGenerator[list[FrameLocator]]:
    """Show the chat once for each name, and the frames."""
    live = await panes(app, *(Pane(PAGE, n) for n in names), Pane("frames"))
    await page.set_content(live._repr_mimebundle_()["text/html"])
    count = range(len(names) + 1)
    yield [page.frame_locator("iframe").nth(number) for number in count]
    await live.close()


async def say(pane: FrameLocator, text: str) -> None:
    box = pane.get_by_role("textbox", name="Message")
    await box.fill(text)
    await box.press("Enter")


async def press(pane: FrameLocator, button: str) -> None:
    await pane.get_by_role("button", name=button, exact=True).click()


async def reads(pane: FrameLocator, *lines: str) -> None:
    """Expect these to be the last lines of the log."""
    entries = pane.get_by_role("log").locator("p")
    for place, line in enumerate(reversed(lines), start=1):
        await expect(entries.nth(-place)).to_have_text(line)
    assert (await entries.all_text_contents())[-len(lines) :] == [*lines]


@pytest.mark.parametrize(
    "create_app",
    [
        listeners.create_app,
        streams.create_app,
        transport_modes.create_app,
        pushing_and_receiving.create_app,
        message_contract.create_app,
        rooms.create_app,
    ],
    ids=[
        "listeners",
        "streams",
        "transport_modes",
        "pushing_and_receiving",
        "message_contract",
        "rooms",
    ],
)
async def test_two_people_talk(create_app: Callable[[], Any], page: Page):
    async with chatting(page, create_app(), "Ada", "Bob") as shown:
        ada, bob, frames = shown
        await reads(ada, "You are here.")
        await reads(bob, "You are here.")
        await say(ada, "tea?")
        await reads(ada, "Adatea?")
        await reads(bob, "Adatea?")
        await say(bob, "<b>Yes</b>, please")
        for pane in (ada, bob):
            await reads(pane, "Adatea?", "Bob<b>Yes</b>, please")
        await expect(bob.locator(".own")).to_have_text("Bob<b>Yes</b>, please")
        drawn = frames.locator("svg")
        await expect(drawn).to_contain_text("please")
        await press(bob, "Leave")
        await reads(bob, "You left.")
        await expect(drawn).to_contain_text("disconnect 1000")
        await press(bob, "Join again")
        await reads(bob, "You left.", "You are here.")


async def test_it_shows_who_is_here_as_far_as_it_is_told(page: Page):
    app = pushing_and_receiving.create_app()
    async with chatting(page, app, "Ada", "Bob") as (ada, bob, _):
        for pane in (ada, bob):
            here = pane.get_by_role("status")
            await expect(here).to_have_text("Here: Ada, Bob")
        await press(bob, "Leave")
        await expect(ada.get_by_role("status")).to_have_text("Here: Ada")
        await expect(bob.get_by_role("status")).to_be_empty()
        await reads(ada, "You are here.")  # the line is enough
    async with chatting(page, listeners.create_app(), "Ada") as (ada, _):
        await reads(ada, "You are here.")
        await expect(ada.get_by_role("status")).to_be_empty()


async def test_what_breaks_the_contract_is_told_and_others_hear_nothing(
    page: Page,
):
    app = message_contract.create_app()
    async with chatting(page, app, "Ada", "Bob") as (ada, bob, _):
        await reads(bob, "You are here.")
        await say(ada, "tea" * 200)
        why = "Expected `str` of length <= 500 - at `$.text`"
        await reads(ada, "You are here.", f"Not sent: {why}")
        await say(ada, "tea?")
        await reads(bob, "You are here.", "Adatea?")


def radio(pane: FrameLocator, name: str) -> Locator:
    return pane.get_by_role("radio", name=name, exact=True)


async def enter(pane: FrameLocator, room: str) -> None:
    """Ask to join a room."""
    box = pane.get_by_role("textbox", name="Another room")
    await box.fill(room)
    await box.press("Enter")


async def test_rooms_are_joined_shown_and_left(page: Page):
    async with chatting(page, rooms.create_app(), "ada", "bob") as shown:
        ada, bob, _ = shown
        for pane in (ada, bob):
            await expect(radio(pane, "lobby")).to_be_checked()
            await enter(pane, "tea")
            await expect(radio(pane, "tea")).to_be_checked()
            await expect(radio(pane, "lobby")).not_to_be_checked()
            box = pane.get_by_role("textbox", name="Message")
            await expect(box).to_be_focused()
        for pane in (ada, bob):
            here = pane.get_by_role("status")
            await expect(here).to_have_text("In tea: ada, bob")
        await expect(bob.get_by_role("log")).to_have_accessible_name(
            "Messages in tea"
        )
        await say(ada, "milk?")
        await reads(bob, "adamilk?")
        await radio(bob, "lobby").check()
        await reads(bob, "You are here.")
        await say(ada, "sugar?")
        await say(ada, "no?")
        await radio(bob, "tea (2 new)").check()
        await reads(bob, "adamilk?", "adasugar?", "adano?")
        await press(bob, "Leave tea")
        await expect(radio(bob, "lobby")).to_be_checked()
        await expect(bob.get_by_role("radio")).to_have_count(1)
        await expect(ada.get_by_role("status")).to_have_text("In tea: ada")
        await say(bob, "enough tea")
        await radio(ada, "lobby (1 new)").check()
        await reads(ada, "You are here.", "bobenough tea")


async def test_rooms_are_switched_with_the_keyboard(page: Page):
    async with chatting(page, rooms.create_app(), "ada") as (ada, _):
        await enter(ada, "tea")
        await expect(radio(ada, "tea")).to_be_checked()
        await page.keyboard.press("Shift+Tab")  # from the message to the log
        await expect(ada.get_by_role("log")).to_be_focused()
        for _ in range(4):  # what is left of "join" and "leave", and back
            await page.keyboard.press("Shift+Tab")
        await expect(radio(ada, "tea")).to_be_focused()
        await page.keyboard.press("ArrowUp")
        await expect(radio(ada, "lobby")).to_be_focused()
        await expect(radio(ada, "lobby")).to_be_checked()
        await reads(ada, "You are here.")


async def test_what_may_not_be_joined_is_told(page: Page):
    async with chatting(page, rooms.create_app(), "ada") as (ada, _):
        await expect(radio(ada, "lobby")).to_be_checked()
        await enter(ada, "private-bob")
        why = "Not joined: you may not join this room"
        await reads(ada, "You are here.", why)
        await enter(ada, "Tea!")
        name = ada.get_by_role("log").locator("p").last
        await expect(name).to_contain_text("Not joined: a room's name has 1")
        await expect(ada.get_by_role("radio")).to_have_count(1)
        await expect(ada.get_by_role("textbox", name="Message")).to_be_empty()
        await enter(ada, "lobby")  # in which she is
        await expect(radio(ada, "lobby")).to_be_checked()
        await expect(ada.get_by_role("radio")).to_have_count(1)


async def test_who_is_in_no_room_is_still_connected(page: Page):
    async with chatting(page, rooms.create_app(), "ada") as (ada, _):
        await press(ada, "Leave lobby")
        await expect(ada.get_by_role("radio")).to_have_count(0)
        await expect(ada.get_by_role("status")).to_be_empty()
        await say(ada, "anybody?")
        why = "Not sent: join the room before you speak in it"
        await reads(ada, "You are here.", why)
        await enter(ada, "tea")
        await expect(radio(ada, "tea")).to_be_checked()
        await say(ada, "tea?")
        await reads(ada, why, "adatea?")


async def test_rooms_end_with_the_connection(page: Page):
    async with chatting(page, rooms.create_app(), "ada") as (ada, _):
        await enter(ada, "tea")
        await expect(radio(ada, "tea")).to_be_checked()
        await press(ada, "Leave")
        await reads(ada, "You left.")
        await expect(ada.get_by_role("region", name="Rooms")).to_be_hidden()
        await press(ada, "Join again")
        await expect(radio(ada, "lobby")).to_be_checked()
        await expect(ada.get_by_role("radio")).to_have_count(1)
        await reads(ada, "You left.", "You are here.")


@websocket("/chat/Ann")
async def strict(socket: WebSocket) -> None:
    await socket.accept()
    async for _ in socket.iter_data("text"):
        error = {"type": "error", "code": "forbidden", "message": "No <b>!"}
        await socket.send_json(error)


async def test_what_the_server_does_not_take_is_not_lost(page: Page):
    app = Litestar([strict])
    async with chatting(page, app, "Ann") as (ann, _):
        box = ann.get_by_role("textbox", name="Message")
        await say(ann, "tea?")
        await reads(ann, "You are here.", "Not sent: No <b>!")
        notes = ann.get_by_role("log").locator(".note")
        await expect(notes).to_have_count(2)
        await expect(box).to_have_value("tea?")
        await expect(box).to_be_focused()
        await box.press("Enter")
        await expect(notes).to_have_count(3)
        await reads(ann, "Not sent: No <b>!", "Not sent: No <b>!")


async def test_a_name_that_is_taken_can_be_changed(page: Page):
    app = listeners.create_app()
    async with chatting(page, app, "Ann", "") as (ann, late, _):
        await reads(ann, "You are here.")
        name = late.get_by_role("textbox", name="Your name")
        await name.fill("Ann")
        await name.press("Enter")
        taken = "The server closed: 4403 Ann is here already"
        await reads(late, "You are here.", taken)
        await name.fill("Änn?")
        await name.press("Enter")
        heading = late.get_by_role("heading")
        await expect(heading).to_have_text("Chat, as Änn?")
        await say(late, "tea?")
        await reads(ann, "Änn?tea?")


@websocket("/chat/Ann")
async def chat(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_data("text"):
        message = json.loads(text)["text"]
        if message == "die":
            return
        await socket.close(1001, message)


async def test_a_name_is_asked_for_and_endings_are_in_plain_words(page: Page):
    files = create_static_files_router("/", [PAGE.parent], html_mode=True)
    app = Litestar([chat, files], logging_config=None)
    async with serve(app, timeout_graceful_shutdown=0.1) as server:
        await page.goto(server.http_url)
        await page.get_by_role("textbox", name="Your name").fill(" Ann ")
        await page.keyboard.press("Enter")
        heading = page.get_by_role("heading")
        await expect(heading).to_have_text("Chat, as Ann")
        box = page.get_by_role("textbox", name="Message")
        await expect(box).to_be_focused()
        await page.keyboard.press("Enter")  # nothing to say
        await page.keyboard.type("bye")
        await page.keyboard.press("Enter")
        log = page.get_by_role("log")
        last = log.locator("p").last
        await expect(last).to_have_text("The server closed: 1001 bye")
        again = page.get_by_role("button", name="Join again")
        await expect(again).to_be_focused()
        await page.keyboard.press("Enter")
        await box.fill("die")
        await page.keyboard.press("Enter")
        await expect(last).to_have_text("The connection was lost.")
    await page.keyboard.press("Enter")
    await expect(last).to_have_text(
        "No connection: the server is not there, or turned you away."
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_accessible_and_narrow(scheme: Any, page: Page):
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": 300, "height": 480})
    live = await panes(rooms.create_app(), Pane(PAGE))
    await page.goto(f"{live.url}/index.html#Ann")
    box = page.get_by_role("textbox", name="Message")
    await box.fill("supercalifragilisticexpialidocious" * 3)
    await box.press("Enter")
    await expect(page.locator(".own")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("In lobby: Ann")
    more = page.get_by_role("textbox", name="Another room")
    for room in ("tea", "supercalifragilisticexpialidocious-room"):
        await more.fill(room)
        await more.press("Enter")
        await expect(page.get_by_role("radio", name=room)).to_be_checked()
    for button in ("Leave", "Join again"):
        assert await page.locator("html").evaluate(OVERFLOW) == 0
        results = await Axe().run(page)
        found = results.response["violations"]
        assert [violation["id"] for violation in found] == []
        await page.get_by_role("button", name=button, exact=True).click()
    await live.close()
