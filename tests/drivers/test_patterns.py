import pytest

from algaenv.drivers.build.patterns import Glob, globs, is_never_counted


@pytest.mark.parametrize(
    ("glob", "matched", "other"),
    [
        ("src", ("src", "src/a", "src/b/c"), ("srcs", "a/src")),
        ("./src/", ("src", "src/a"), ("srcs",)),
        (".", ("a", "a/b"), ()),
        ("*.ts", ("a.ts", ".ts"), ("b/a.ts", "a.tsx")),
        ("src/**/*.ts", ("src/a.ts", "src/b/c/a.ts"), ("a.ts", "src/a.js")),
        ("**/*.ts", ("a.ts", "b/a.ts"), ("a.js",)),
        ("src/**", ("src/a", "src/b/c"), ("src", "srcs/a")),
        ("a?c", ("abc",), ("a/c", "ac")),
        ("[ab].x", ("a.x", "b.x"), ("c.x",)),
        ("[!ab].x", ("c.x",), ("a.x", "/.x")),
        ("a[b", ("a[b",), ("ab",)),
        ("[\\].x", ("\\.x",), ("a.x",)),
        ("a.b(c)+", ("a.b(c)+",), ("aXb(c)+",)),
        ("dist/*/x", ("dist/a/x", "dist/a/x/y"), ("dist/a/b/x",)),
    ],
)
def test_what_a_glob_matches(glob: str, matched: tuple[str, ...], other: tuple[str, ...]) -> None:
    (compiled,) = globs([glob])
    assert [it for it in matched if not compiled.matches(it)] == []
    assert [it for it in other if compiled.matches(it)] == []


def test_a_plain_glob_names_one_path() -> None:
    assert Glob("src/a.ts").is_plain
    assert not Glob("src/*.ts").is_plain


def test_the_spec_and_what_is_for_people_never_counts() -> None:
    for path in ("algaenv.yaml", "a/algaenv.ci.yml", "README", "docs/README.de.md", "x/.a.swp"):
        assert is_never_counted(path), path
    for path in ("src/readme.ts", "my-algaenv.yaml", "README/x", "manifest.json"):
        assert not is_never_counted(path), path
