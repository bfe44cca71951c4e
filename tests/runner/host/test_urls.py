"""Which URLs are URLs, and which hosts the egress list permits."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.runner.host.fetch import InvalidUrl, parse_url
from algaenv.runner.host.settings import is_allowed


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://example.com", "http://example.com"),
        ("  HTTP://EXAMPLE.com:80/A\n", "http://example.com/A"),
        ("ht\ntp://exa\tmple.com/a\r\nb", "http://example.com/ab"),
        ("https:example.com/x", "https://example.com/x"),
        ("http:////example.com/x", "http://example.com/x"),
        ("http:\\\\example.com\\a\\..\\b?c\\d#e\\f", "http://example.com/b?c\\d#e\\f"),
        ("http://evil.example\\@good.example/", "http://evil.example/@good.example/"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://h/%41%zz", "http://h/%41%zz"),
        ("http://[0:0::1]:8080/", "http://[0:0::1]:8080/"),
        ("mailto:a@b.c", "mailto:a@b.c"),
    ],
)
def test_urls(text: str, url: str) -> None:
    assert str(parse_url(text)) == url


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "/a", "a/b", "?q", "example.com", "://h", "1http://h", "http://", "http:///",
        "https://?q", "http://:80", "http://u@", "http://h:70000", "http://h:-1", "http://h:a",
        "http://[::1", "http://[::zz]", "http://a b/", "http://a%2fb/", "http://%65xample.com",
        "http://a<b", "http://1.2.3.400", "http://h/\x01x", "http://a|b", "http://" + "x" * 70_000,
    ],
)  # fmt: skip
def test_not_urls(text: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(text)


@pytest.mark.parametrize(
    ("entry", "url", "permitted"),
    [
        ("example.com", "http://example.com", True),
        ("example.com", "https://EXAMPLE.com:8443/x", True),
        ("example.com", "http://api.example.com", True),
        ("example.com", "http://a.b.example.com", True),
        ("example.com", "http://example.org", False),
        ("example.com", "http://notexample.com", False),
        ("example.com", "http://example.com.evil.org", False),
        ("example.com", "http://example.com.", False),
        ("example.com", "http://example.com@evil.org", False),
        ("example.com", "http://evil.org/example.com", False),
        ("example.com", "http://xn--example.com", False),
        ("example.com:80", "http://example.com", False),
        ("http://example.com", "http://example.com", False),
        (".example.com", "http://api.example.com", False),
        ("*.example.com", "http://api.example.com", False),
        ("xn--bcher-kva.example", "http://Bücher.example", True),
        ("bücher.example", "http://Bücher.example", False),
        ("127.0.0.1", "http://127.0.0.1:8080", True),
        ("127.0.0.1", "http://127.0.0.2", False),
        ("0.0.1", "http://127.0.0.1", False),
        ("127.0.0.1", "http://2130706433", False),
        ("[::1]", "http://[0:0::1]/", True),
        ("::1", "http://[::1]/", True),
        ("1", "http://[::1]/", False),
        ("example.com", "http://[fe80::1%25x.example.com]/", False),
        ("example.com", "file:///example.com", False),
    ],
)
def test_entries(entry: str, url: str, permitted: bool) -> None:
    try:
        parsed = parse_url(url)
    except InvalidUrl:
        assert not permitted
        return
    assert is_allowed({entry, "unrelated.example"}, parsed) is permitted
    assert is_allowed((), parsed)


_hostile = st.lists(
    st.sampled_from([*"ab.:/\\@#?[]%&;= \t\n\x00é。１", "%2e", "%00", "good.example", "//"]),
    max_size=12,
).map("".join)


@given(_hostile, _hostile)
def test_what_is_permitted_is_what_is_asked(before: str, after: str) -> None:
    """No spelling passes the list and leads elsewhere: the host that is permitted is the one
    that the library would connect to, and a name as the resolver gets it."""
    try:
        url = parse_url(f"http://{before}good.example{after}")
    except InvalidUrl:
        return
    sent = httpx.Request("GET", url).url
    assert sent.raw_host == url.raw_host
    if is_allowed({"good.example"}, url):
        assert sent.raw_host == b"good.example" or sent.raw_host.endswith(b".good.example")
        assert not set(sent.raw_host) & set(b"/\\@#?%: \t\n\x00")
