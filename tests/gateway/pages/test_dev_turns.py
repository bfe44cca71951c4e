"""Pages that follow the command `dev`, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg
import pytest

from algaenv.bundle.digest import Digest
from algaenv.drivers.dev_channel import DevChannel, Turn
from algaenv.gateway.events import EventBus
from algaenv.gateway.settings import GatewayConfig
from algaenv.model.problem import Problem, Where
from algaenv.model.secret import Secret
from tests.gateway.pages.page_helpers import Shot, events, inside
from tests.gateway.pages.stub_site import (
    BARE,
    HELLO,
    NOTES,
    SERVED,
    TOKEN,
    Extension,
    Site,
    serving,
)
from tests.servers import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Page

HTML = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Live</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="app.css">
    <script src="app.js" type="module"></script>
  </head>
  <body>
    <h1>%s</h1>
    <label>Name <input id="name"></label>
    <div id="list" tabindex="0"></div>
    <div id="long"></div>
  </body>
</html>
"""
CSS = (
    '@import "more.css"; body { height: 3000px; color: rgb(1, 1, 1); } #list { height: 100px;'
    " overflow: auto; scroll-behavior: smooth; }"
)
# As pages of frameworks do: nothing is there when the page has loaded.
SCRIPT = """
requestAnimationFrame(() => requestAnimationFrame(() => {
  for (const id of ["list", "long"])
    document.getElementById(id).innerHTML = "<p>a line</p>".repeat(100);
}));
"""
FILES: Mapping[str, str] = {
    "index.html": HTML % "One",
    "app.css": CSS,
    "more.css": "h1 { color: rgb(2, 2, 2); }",
    "unused.css": "h1 { color: rgb(3, 3, 3); }",
    "app.js": SCRIPT,
}
PROBLEM = Problem(
    "build-failed",
    "cannot build hello: npm run build ended with 1",
    "correct the error that the build names",
    Where("/home/dorothy/hello/ui/app.ts", 3, 5),
    ('✘ [ERROR] Expected ";" but found "y"', "", "    3 │   let x y" + " y" * 200, "<b>end</b>"),
)
MARK = "window.stillTheSamePage = true"
IS_MARKED = "window.stillTheSamePage === true"


@dataclass
class Dev:
    """Plays the command `dev`: publishes versions and reports them."""

    site: Site
    folder: Path
    channel: DevChannel
    published: int = 0
    digests: dict[str, Digest] = field(default_factory=dict)

    def publish(self, extension: Extension, **changed: str) -> Digest:
        """A bundle of `FILES`, with files replaced (a dot is spelled `_`), is installed."""
        self.published += 1
        folder = self.folder / str(self.published)
        folder.mkdir()
        for name, text in {
            **FILES,
            **{it.replace("_", "."): text for it, text in changed.items()},
        }.items():
            (folder / name).write_text(text)
        digest = Digest.of(f"{folder}".encode())
        self.site.runner.bundles[extension.registry_id, digest.prefixed] = folder
        with closing(psycopg.connect(self.site.variables["DATABASE_URL"])) as link, link:
            link.execute(
                "UPDATE extension_bundle SET content_hash = %s WHERE version_id IN"
                " (SELECT id FROM extension_version WHERE registry_id = %s)",
                (digest.prefixed, extension.registry_id),
            )
        return digest

    def report(self, extension: Extension, state: Any, **fields: Any) -> None:
        assert self.channel.turn(Turn(extension.registry_id, state, **fields)) is None

    def apply(self, extension: Extension, *changed: str, **files: str) -> Digest:
        """A change is published and reported as applied."""
        digest = self.publish(extension, **files)
        self.report(
            extension,
            "applied",
            digest=digest,
            changed=changed,
            seconds=0.052,
            stages={"build": 12, "pack": 3.4},
        )
        return digest


@pytest.fixture
def dev(site: Site, tmp_path: Path) -> Iterator[Dev]:
    made = Dev(site, tmp_path, DevChannel(site.url, Secret(TOKEN)))
    for extension in (HELLO, NOTES):
        made.publish(extension)
    yield made
    assert made.channel.ended() is None


@pytest.fixture
def opened(site: Site, page: Page, dev: Dev) -> Callable[[Extension], Frame]:
    """Opens the page of an extension; waits until it follows `dev`."""
    from playwright.sync_api import expect

    _ = dev

    def open_(extension: Extension = HELLO, query: str = "") -> Frame:
        with page.expect_response(re.compile(r"/algaenv/dev\?")):
            page.goto(site.page(extension, query=query))
        expect(page.locator("#connection")).to_have_text("live")
        frame = inside(page)
        expect(frame.locator("#long p")).to_have_count(100)
        frame.evaluate(MARK)
        return frame

    return open_


def turns(page: Page, text: str = "") -> Any:
    return events(page, "turn", text)


def heading(page: Page) -> Any:
    return page.frame_locator("iframe").get_by_role("heading", level=1)


def is_marked(page: Page) -> bool:
    return bool(inside(page).evaluate(IS_MARKED))


def scroll_positions(page: Page) -> list[float]:
    found: list[float] = inside(page).evaluate(
        "[scrollY, document.getElementById('list').scrollTop, parent.scrollY]"
    )
    return found


def test_a_new_version_is_loaded_where_the_author_was(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    page.set_viewport_size({"width": 1360, "height": 500})
    frame = opened()
    page.get_by_label("Theme").focus()
    frame.evaluate(
        "scrollTo(0, 700); list.scrollTo({top: 900, behavior: 'instant'}); parent.scrollTo(0, 90)"
    )
    before = scroll_positions(page)
    assert before == [700, 900, 90]
    entries = page.locator("#events li").count()
    length = page.evaluate("history.length")
    digest = dev.apply(HELLO, "ui/index.html", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    expect(turns(page)).to_have_text(re.compile(r"reloaded\s+52 ms: build 12 · pack 3"))
    page.wait_for_function(
        "([inner, list, outer]) => { const inside = document.querySelector('iframe').contentWindow;"
        " return inside.document.querySelectorAll('#list p').length === 100 &&"
        " inside.scrollY === inner && scrollY === outer"
        " && inside.document.getElementById('list').scrollTop === list; }",
        arg=before,
    )
    assert not is_marked(page)
    assert page.evaluate("document.activeElement.id") == "theme"
    assert page.evaluate("history.length") == length
    assert page.locator("#events li").count() > entries
    expect(page.locator("#address")).to_contain_text(digest.hex)
    expect(page.locator("#bundle")).to_have_text(digest.prefixed)
    page.get_by_role("button", name="Reload the frame").click()
    expect(heading(page)).to_have_text("Two")


@pytest.mark.slow
def test_a_page_that_takes_the_focus_does_not_get_it(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened()
    page.get_by_label("Width").focus()
    greedy = SCRIPT + "document.getElementById('name').focus(); document.title = 'greedy';"
    dev.apply(HELLO, "ui/app.js", app_js=greedy)
    page.wait_for_function(
        "() => document.querySelector('iframe').contentDocument.title === 'greedy'"
    )
    page.wait_for_function("() => document.activeElement.id === 'viewport'")
    # What the author had the focus on in the page is found again.
    page.frame_locator("iframe").locator("#name").click()
    dev.apply(HELLO, "ui/index.html", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    expect(page.frame_locator("iframe").locator("#name")).to_be_focused()
    assert page.evaluate("document.activeElement.tagName") == "IFRAME"


def test_style_sheets_are_swapped_without_a_reload(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    frame = opened()
    frame.locator("#name").fill("typed before")
    for colour in ("rgb(10, 0, 0)", "rgb(20, 0, 0)"):
        digest = dev.apply(HELLO, "ui/app.css", app_css=CSS.replace("rgb(1, 1, 1)", colour))
        expect(turns(page, "styles").last).to_be_visible()
        expect(frame.locator("body")).to_have_css("color", colour)
        expect(frame.locator("link[rel=stylesheet]")).to_have_count(1)
        expect(frame.locator("link[rel=stylesheet]")).to_have_attribute(
            "href", re.compile(f"{digest.hex}/app.css$")
        )
        expect(page.locator("#bundle")).to_have_text(digest.prefixed)
    # One that another imports.
    dev.apply(HELLO, "ui/more.css", "ui/app.css", more_css="h1 { color: rgb(30, 0, 0); }")
    expect(frame.locator("h1")).to_have_css("color", "rgb(30, 0, 0)")
    expect(turns(page, "styles")).to_have_count(3)
    expect(frame.locator("#name")).to_have_value("typed before")
    assert is_marked(page)
    # The next reload is of the new version.
    dev.apply(HELLO, "ui/app.css", "ui/app.js", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    assert not is_marked(page)


def test_in_any_doubt_the_page_is_reloaded(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened()
    doubts: tuple[tuple[str, ...] | None, ...] = (
        ("ui/unused.css",),
        ("ui/app.css", "ui/index.html"),
        ("styles/app.css",),
        ("app.css",),
        ("ui/app.css.js",),
        (),
        None,
    )
    for number, changed in enumerate(doubts, 1):
        digest = dev.publish(HELLO, index_html=HTML % f"Number {number}")
        dev.report(HELLO, "applied", digest=digest, changed=changed)
        expect(heading(page)).to_have_text(f"Number {number}")
        expect(turns(page, "reloaded")).to_have_count(number)
        inside(page).wait_for_load_state()


@pytest.mark.slow
def test_a_style_sheet_that_does_not_load_is_a_doubt(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened()
    digest = dev.publish(HELLO, index_html=HTML % "Two")
    (dev.folder / str(dev.published) / "app.css").unlink()
    dev.report(HELLO, "applied", digest=digest, changed=("ui/app.css",))
    expect(heading(page)).to_have_text("Two")


def test_a_version_that_replaces_another_one_is_a_doubt(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    dev.apply(HELLO)
    unreported = dev.publish(HELLO)
    opened()
    expect(page.locator("#bundle")).to_have_text(unreported.prefixed)
    dev.apply(HELLO, "ui/app.css", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    dev.apply(HELLO, "ui/app.css")
    expect(turns(page, "styles")).to_have_count(1)


def test_the_same_version_changes_nothing(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened()
    digest = Digest.parse(page.locator("#bundle").text_content() or "")
    dev.report(HELLO, "applied", digest=digest, changed=())
    expect(turns(page, "served")).to_have_count(1)
    dev.report(HELLO, "idle", digest=digest)
    dev.report(HELLO, "applied", digest=None, changed=("ui/index.html",))
    expect(turns(page, "served")).to_have_count(2)
    assert is_marked(page)


def test_the_component_takes_the_place_of_the_source_without_a_reload(
    page: Page, dev: Dev, opened: Callable[..., Frame], shot: Shot
) -> None:
    from playwright.sync_api import expect

    opened()
    badge = page.get_by_role("button", name="runs from source")
    expect(badge).to_be_hidden()
    digest = dev.publish(HELLO)
    dev.report(HELLO, "applied", digest=digest, changed=("src/main.ts",), runs_from="source")
    expect(turns(page, "reloaded")).to_have_count(1)
    expect(badge).to_be_visible()
    badge.hover()
    expect(page.get_by_role("tooltip")).to_be_visible()
    shot(page, "dev-source")
    page.keyboard.press("Escape")
    expect(page.locator("#source-tip")).to_be_hidden()
    inside(page).evaluate(MARK)
    digest = dev.publish(HELLO)
    dev.report(HELLO, "applied", digest=digest, changed=(), runs_from="component")
    expect(badge).to_be_hidden()
    expect(page.locator("#bundle")).to_have_text(digest.prefixed)
    assert is_marked(page)


def test_only_the_page_of_the_changed_extension_reacts(
    site: Site, page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened(HELLO)
    other = page.context.new_page()
    with other.expect_response(re.compile(r"/algaenv/dev\?")):
        other.goto(site.page(NOTES, "client-portal"))
    inside(other).evaluate(MARK)
    dev.report(HELLO, "failed", problems=(PROBLEM,))
    dev.apply(HELLO, "ui/index.html", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    dev.report(NOTES, "applied")
    expect(turns(other)).to_have_count(1)
    assert is_marked(other)
    dev.apply(NOTES, "ui/index.html", index_html=HTML % "Three")
    expect(heading(other)).to_have_text("Three")
    expect(heading(page)).to_have_text("Two")
    expect(turns(page)).to_have_count(2)


def test_what_failed_is_shown_over_the_last_good_version_until_one_answers(
    page: Page, dev: Dev, opened: Callable[..., Frame], shot: Shot
) -> None:
    from playwright.sync_api import expect

    frame = opened()
    failure = page.get_by_role("region", name="Hello World: the last change failed")
    building = page.get_by_text("building…")
    dev.report(HELLO, "building")
    expect(building).to_be_visible()
    expect(failure).to_be_hidden()
    dev.report(HELLO, "failed", problems=(PROBLEM, Problem("lint", "cannot read <i>this</i>")))
    expect(failure).to_be_visible()
    expect(building).to_be_hidden()
    expect(failure).to_contain_text("/home/dorothy/hello/ui/app.ts:3:5")
    expect(failure.locator("pre").first).to_contain_text("let x y")
    expect(failure.locator("pre").first).to_contain_text("<b>end</b>")
    expect(failure.locator("pre").last).to_be_hidden()
    expect(failure).to_contain_text("cannot read <i>this</i>")
    expect(failure).to_contain_text("correct the error that the build names")
    expect(page.locator("#turn-status")).to_contain_text("The last change failed. /home/dorothy")
    expect(turns(page, "app.ts:3:5: cannot build")).to_have_count(1)
    shot(page, "dev-failed")
    assert is_marked(page)
    dev.report(HELLO, "building")
    expect(building).to_be_visible()
    expect(failure).to_be_visible()
    dev.apply(HELLO, "ui/index.html", index_html=HTML % "Two")
    expect(failure).to_be_hidden()
    expect(building).to_be_hidden()
    expect(heading(page)).to_have_text("Two")
    expect(page.locator("#turn-status")).to_have_text("The extension answers again.")
    _ = frame


@pytest.mark.slow
def test_what_failed_is_put_away_and_brought_back_by_keyboard(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    frame = opened()
    frame.locator("#name").click()
    failure = page.locator("#failure")
    dev.report(HELLO, "failed", problems=(PROBLEM,))
    expect(failure).to_be_visible()
    assert page.evaluate("document.querySelector('iframe').inert")
    page.keyboard.press("Escape")
    expect(failure).to_be_hidden()
    expect(frame.locator("#name")).to_be_focused()
    again = page.get_by_role("button", name="Show what failed")
    again.press("Enter")
    expect(failure).to_be_visible()
    dismiss = page.get_by_role("button", name="Dismiss")
    expect(dismiss).to_be_focused()
    page.keyboard.press("Enter")
    expect(failure).to_be_hidden()
    expect(again).to_be_focused()
    # The same problem again does not open it, another does.
    dev.report(HELLO, "building")
    dev.report(HELLO, "failed", problems=(PROBLEM,))
    expect(turns(page, "failed")).to_have_count(2)
    expect(failure).to_be_hidden()
    dev.report(HELLO, "failed", problems=(Problem("other", "cannot link it"),))
    expect(failure).to_contain_text("cannot link it")
    dev.report(HELLO, "idle")
    expect(failure).to_be_hidden()
    expect(again).to_be_hidden()


def test_a_page_that_is_opened_later_shows_the_state_and_its_end(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    dev.report(HELLO, "failed", problems=(PROBLEM,), runs_from="source")
    opened()
    expect(page.locator("#failure")).to_contain_text("cannot build hello")
    expect(page.get_by_role("button", name="runs from source")).to_be_visible()
    expect(turns(page)).to_have_count(0)
    assert dev.channel.ended() is None
    expect(page.locator("#failure")).to_be_hidden()
    expect(page.get_by_role("button", name="runs from source")).to_be_hidden()
    assert is_marked(page)


@pytest.mark.slow
def test_a_page_in_the_background_reloads_once_when_it_is_seen_again(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened()
    turn = """hidden => {
        Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/algaenv/events" in request.url):
        page.evaluate(turn, True)
    dev.apply(HELLO, "ui/index.html", index_html=HTML % "Two")
    dev.apply(HELLO, "ui/index.html", index_html=HTML % "Three")
    loads: list[str] = []
    page.on("framenavigated", lambda it: loads.append(it.url))
    page.evaluate(turn, False)
    expect(heading(page)).to_have_text("Three")
    expect(turns(page, "52 ms")).to_have_count(2)
    expect(turns(page, "another version is served now")).to_have_count(1)
    assert len(loads) == 1


@pytest.mark.slow
def test_a_page_whose_gateway_was_restarted_compares_and_reloads(
    site: Site, page: Page, dev: Dev
) -> None:
    from playwright.sync_api import expect

    from algaenv.gateway.app import create_app

    @contextmanager
    def gateway(port: int) -> Iterator[None]:
        bus = EventBus()
        with serving(create_app(GatewayConfig.read(site.variables), bus), bus, port=port):
            yield

    port = free_port()
    with gateway(port):
        with page.expect_response(re.compile(r"/algaenv/dev\?")):
            page.goto(site.page(HELLO).replace(str(site.port), str(port)))
        inside(page).evaluate(MARK)
        expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#connection")).to_have_text("not connected")
    with gateway(port):
        expect(page.locator("#connection")).to_have_text("live")
        assert is_marked(page)
    expect(page.locator("#connection")).to_have_text("not connected")
    dev.publish(HELLO, index_html=HTML % "Two")
    with gateway(port):
        expect(heading(page)).to_have_text("Two")
        expect(turns(page, "another version is served now")).to_have_count(1)
        page.goto("about:blank")


def test_a_frame_of_another_origin_is_reloaded(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    opened(HELLO, "?mode=host")
    dev.apply(HELLO, "ui/app.css", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    expect(turns(page, "reloaded")).to_have_count(1)


def test_the_reloads_of_a_development_server_are_its_own(site: Site, page: Page, dev: Dev) -> None:
    from playwright.sync_api import expect

    with page.expect_response(re.compile(r"/algaenv/dev\?")):
        page.goto(site.page(SERVED))
    inside(page).evaluate(MARK)
    dev.report(SERVED, "failed", problems=(PROBLEM,))
    expect(page.locator("#failure")).to_be_visible()
    dev.report(SERVED, "applied", digest=Digest.of(b"new"), changed=("ui/index.html",))
    expect(turns(page, "served")).to_have_count(1)
    assert is_marked(page)


@pytest.mark.slow
def test_a_page_with_routes_of_its_own_stays_on_its_route(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    frame = opened()
    frame.evaluate("history.pushState(null, '', 'app.js/../index.html?note=7#edit')")
    dev.apply(HELLO, "ui/index.html", index_html=HTML % "Two")
    expect(heading(page)).to_have_text("Two")
    address = inside(page).evaluate("location.href")
    assert re.search(r"/index\.html\?note=7&.*tenant=.*#edit$", address)
    page.get_by_role("button", name="Reload the frame").click()
    expect(heading(page)).to_have_text("Two")
    page.wait_for_function(
        "() => !document.querySelector('iframe').contentWindow.location.hash.includes('edit')"
    )


@pytest.mark.slow
def test_the_page_of_an_extension_without_a_bundle_waits_for_one(
    site: Site, page: Page, dev: Dev
) -> None:
    from playwright.sync_api import expect

    with page.expect_response(re.compile(r"/algaenv/dev\?")):
        page.goto(site.page(BARE))
    dev.report(BARE, "failed", problems=(PROBLEM,))
    expect(page.locator(".turn")).to_contain_text("app.ts:3:5: cannot build hello")
    with page.expect_navigation():
        dev.report(BARE, "applied")
    unknown = "00000000-0000-5000-8000-000000000000"
    with page.expect_response(re.compile(r"/algaenv/dev\?")):
        page.goto(site.page(BARE).replace(BARE.registry_id, unknown))
    dev.apply(HELLO)
    assert dev.channel.turn(Turn(unknown, "building")) is None
    expect(page.locator(".turn")).to_contain_text("building…")
    with page.expect_navigation():
        assert dev.channel.turn(Turn(unknown, "applied")) is None


def test_the_list_shows_the_state_of_each(site: Site, page: Page, dev: Dev, shot: Shot) -> None:
    from playwright.sync_api import expect

    dev.report(HELLO, "failed", problems=(PROBLEM,))
    page.goto(site.url)
    row = page.locator(f"tr[data-extension='{HELLO.registry_id}']")
    failed = "last change failed: /home/dorothy/hello/ui/app.ts:3:5: cannot build"
    expect(row).to_contain_text(failed)
    other = page.locator(f"tr[data-extension='{NOTES.registry_id}']")
    expect(other).not_to_contain_text("building")
    dev.report(NOTES, "building", runs_from="source")
    expect(other).to_contain_text("building")
    expect(other).to_contain_text("runs from source")
    shot(page, "dev-list")
    dev.report(HELLO, "idle")
    expect(row).not_to_contain_text("last change failed")
    assert dev.channel.ended() is None
    expect(other).not_to_contain_text("runs from source")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_what_dev_shows_is_accessible_and_fits_narrow_and_wide_windows(
    *,
    site: Site,
    page: Page,
    dev: Dev,
    opened: Callable[..., Frame],
    shot: Shot,
    scheme: Literal["light", "dark"],
) -> None:
    from playwright.sync_api import expect

    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    def check(name: str) -> None:
        for width in (420, 768, 1600):
            page.set_viewport_size({"width": width, "height": 800})
            shot(page, f"dev-{name}-{scheme}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page, options={"iframes": False}).response["violations"]
        assert [(it["id"], [node["html"] for node in it["nodes"]]) for it in found] == []

    opened()
    dev.report(HELLO, "failed", problems=(PROBLEM,), runs_from="source")
    expect(page.locator("#failure")).to_be_visible()
    dev.report(HELLO, "building", runs_from="source")
    mark = page.get_by_text("building…")
    expect(mark).to_be_visible()
    expect(mark).to_have_css("animation-name", "none")
    page.get_by_role("button", name="runs from source").focus()
    expect(page.get_by_role("tooltip")).to_be_visible()
    check("failed")
    page.keyboard.press("Escape")
    expect(page.locator("#failure")).to_be_hidden()
    check("dismissed")
    dev.report(NOTES, "failed", problems=(PROBLEM,), runs_from="source")
    page.goto(site.url)
    expect(page.get_by_text("cannot build hello")).to_be_visible()
    check("list")


@pytest.mark.slow
def test_what_failed_is_in_sight_beside_a_high_and_a_low_frame(
    page: Page, dev: Dev, opened: Callable[..., Frame]
) -> None:
    from playwright.sync_api import expect

    frame = opened()
    resize = "height => parent.postMessage({ alga: true, version: '1', type: 'resize',"
    resize += " payload: { height } }, '*')"
    frame.evaluate(resize, 4000)
    expect(page.locator("iframe")).to_have_css("height", "4000px")
    page.evaluate("scrollTo(0, 2000)")
    dev.report(HELLO, "failed", problems=(PROBLEM,))
    expect(page.get_by_role("button", name="Dismiss")).to_be_in_viewport()
    page.evaluate("scrollTo(0, 3000)")
    expect(page.get_by_role("button", name="Dismiss")).to_be_in_viewport()
    assert page.evaluate("scrollY") == 3000
    frame.evaluate(resize, 100)
    expect(page.locator("iframe")).to_have_css("height", "100px")
    expect(page.locator("#failure .hint").first).to_be_in_viewport()
