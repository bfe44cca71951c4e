import hashlib
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digests_bytes_and_files_alike(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert Digest.of(b"").hex == EMPTY
    assert Digest.of_file(tmp_path / "file") == Digest.of(content)
    assert Digest.of(content).hex == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "text", [EMPTY, EMPTY.upper(), f"sha256:{EMPTY}", f"sha256:{EMPTY.upper()}"]
)
def test_reads_both_spellings_in_any_case(text: str) -> None:
    digest = Digest.parse(text)
    assert digest.hex == EMPTY
    assert digest.prefixed == str(digest) == f"sha256:{EMPTY}"
    assert digest.short == "e3b0c44298fc"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        EMPTY[:-1],
        EMPTY + "0",
        f" {EMPTY}",
        f"{EMPTY}\n",
        f"SHA256:{EMPTY}",
        "g" * 64,
        f"{EMPTY}  bundle.tar.zst",
        f"sha256:sha256:{EMPTY}",
        "\u0660" * 64,
    ],
)
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256 digest"):
        Digest.parse(text)


def test_is_a_value() -> None:
    with pytest.raises(ValueError, match="not a SHA-256 digest"):
        Digest(EMPTY.upper())
    assert sorted({Digest("b" * 64), Digest("a" * 64), Digest("a" * 64)}) == [
        Digest("a" * 64),
        Digest("b" * 64),
    ]
