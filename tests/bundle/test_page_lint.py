import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.bundle.page_lint import lint
from tests.bundle.sources import QUICK


def found(html: str) -> list[tuple[str, int | None, int | None]]:
    for warning in lint(html, "page.html"):
        assert warning.severity == "warning"
        assert warning.file == "page.html"
        assert warning.summary.startswith("cannot ")
    return [(it.code, it.line, it.column) for it in lint(html, "page.html")]


@pytest.mark.parametrize(
    "html",
    [
        "<script>go()</script>",
        '<script type="module">import "./a.js"</script>',
        '<script type="text/javascript">go()</script>',
        '<script type="importmap">{}</script>',
        "<SCRIPT>go()</SCRIPT>",
        '<button onclick="go()">',
        "<body ONLOAD=go()>",
        '<a href=" javascript:go()">',
        '<script src="https://cdn.example/a.js"></script>',
        '<script src="//cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="http://cdn.example/a.css">',
        '<link rel="preload stylesheet" href="HTTPS://cdn.example/a.css">',
        '<img src="https://example/a.png">',
        '<img srcset="a.png 1x, https://example/b.png 2x">',
        '<iframe src="https://example/"></iframe>',
        '<style>@font-face { src: url( "https://example/a.woff2" ) }</style>',
        "<style>@import 'https://example/a.css';</style>",
        '<p style="background: url(https://example/a.png)">',
    ],
)
def test_what_the_policy_blocks(html: str) -> None:
    assert [code for code, _, _ in found(f"<!doctype html>\n{html}")] == ["source-csp"]


@pytest.mark.parametrize(
    "html",
    [
        '<script src="app.js" defer></script>',
        '<script src="./app.js">\n</script>',
        '<script type="application/json">{"a": "https://example"}</script>',
        '<script type="text/x-template"><p></script>',
        "<script>\n</script>",
        "<style>p { color: red; background: url(a.png) }</style>",
        '<p style="color: red">',
        '<img src="data:image/png;base64,AAAA" srcset="data:image/png;base64,/9j/ 2x">',
        '<link rel="icon" href="data:,">',
        '<a href="https://example/">https://example onclick="x"</a>',
        '<link rel="canonical" href="https://example/">',
        '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        '<p once-upon="a time">'.replace("once", "data"),
        "<!-- <script>go()</script> -->",
        "<textarea>url(https://example)</textarea>",
    ],
)
def test_what_it_allows(html: str) -> None:
    assert found(html) == []


@pytest.mark.parametrize(
    "html", ['<script src="/assets/a.js"></script>', '<link rel="icon" href="/favicon.png">']
)
def test_urls_from_the_root(html: str) -> None:
    assert [code for code, _, _ in found(html)] == ["source-absolute-url"]


def test_places_count_from_one() -> None:
    html = '<html>\n  <body>\n    <script>\n      go()\n    </script>\n<p onclick="x">'
    assert found(html) == [("source-csp", 3, 5), ("source-csp", 6, 1)]


@QUICK
@given(st.text() | st.text(alphabet="<>![]/-a='\" \nonscripty"))
def test_any_text_is_read(html: str) -> None:
    lint(html, "page.html")
    lint(f"<![{html}]><script>{html}", "page.html")


PACKED = {"ui/app.js", "ui/sub/App.css", "ui/my file.js"}


def missing(html: str, path: str = "ui/index.html") -> list[str]:
    def hint(asked: str) -> str | None:
        return None if asked in PACKED else f"not {asked}"

    found = lint(f"<!doctype html>\n{html}", "page.html", path, hint)
    assert all(it.line == 2 for it in found)
    return [it.hint for it in found if it.code == "source-reference"]


@pytest.mark.parametrize(
    ("html", "path", "lost"),
    [
        ('<script src="dist/app.js"></script>', "ui/index.html", "ui/dist/app.js"),
        ('<script src="./app.js?v=1#x"></script>', "ui/sub/page.html", "ui/sub/app.js"),
        ('<link rel="stylesheet" href="sub/app.css">', "ui/index.html", "ui/sub/app.css"),
        ('<img src=".assets/logo%20x.png">', "ui/index.html", "ui/.assets/logo x.png"),
        ('<script src="../dist/main.js"></script>', "ui/index.html", "dist/main.js"),
        ('<base href="sub/"><script src="app.js"></script>', "ui/index.html", "ui/sub/app.js"),
        ('<p style="background: url(bg.png)">', "ui/index.html", "ui/bg.png"),
        ("<style>@import 'theme.css';</style>", "ui/index.html", "ui/theme.css"),
    ],
)
def test_a_file_that_is_not_there(html: str, path: str, lost: str) -> None:
    assert missing(html, path) == [f"not {lost}"]


@pytest.mark.parametrize(
    "html",
    [
        '<script src="app.js?v=1"></script>',
        '<script src="sub/../app.js"></script>',
        '<script src="my%20file.js"></script>',
        '<link rel="stylesheet" href="sub/App.css">',
        '<a href="settings/users">',
        '<img src="{{logo}}"><img src="${logo}"><img src="<%= logo %>">',
        '<img src="data:image/png;base64,AAAA"><img src="blob:x"><img src=""><img src="#a">',
        '<base href="https://example/"><script src="other.js"></script>',
        '<script src="http://[oops"></script>',
    ],
)
def test_what_is_there_or_is_no_file_of_the_bundle(html: str) -> None:
    assert missing(html) == []
