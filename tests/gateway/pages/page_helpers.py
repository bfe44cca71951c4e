"""Locators for the page around an extension."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Frame, Locator, Page

Shot = Callable[["Page", str], None]


def inside(page: Page) -> Frame:
    """The frame of the extension, once its page is there."""
    page.locator("#overlay").wait_for(state="hidden")
    handle = page.locator("iframe").element_handle()
    frame = handle.content_frame()
    assert frame is not None
    frame.wait_for_load_state()
    return frame


def events(page: Page, kind: str, text: str = "") -> Locator:
    """Events of a kind in the panel."""
    return page.locator(f"#events li[data-kind={kind}]", has_text=text)


def notice(page: Page, code: str) -> Locator:
    """A notice in the panel."""
    return page.locator(f"#notices li[data-code='{code}']")
