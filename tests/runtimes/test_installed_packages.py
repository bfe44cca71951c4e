"""What a lock file has of packages: what services run with, and nothing of the tests."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from algaenv.runtimes.installed_packages import packages_here, templates_digest


def test_packages_are_those_that_services_need(tmp_path: Path) -> None:
    found = packages_here(tmp_path)
    assert found["wasmtime"] == importlib.metadata.version("wasmtime")
    assert found["psycopg-pool"] == importlib.metadata.version("psycopg-pool")
    assert "psycopg-binary" in found, "an extra that a requirement names"
    assert found["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert not {"algaenv", "pytest", "ruff", "mkdocs"} & found.keys()
    assert packages_here(tmp_path) == packages_here(None) == found


def test_the_digest_of_templates_is_of_files() -> None:
    assert templates_digest() == templates_digest()
    assert len(templates_digest()) == len("sha256:") + 64
