"""The product's development installer, run against an environment of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import boto3
import pytest

from tests.drivers import alga
from tests.scenario.project import Project

ARCHIVE = b"what the product's own packer has made"
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
READ_BY_THE_SCRIPT = (
    "DB_HOST", "DB_PORT", "DB_USER_ADMIN", "DB_PASSWORD_ADMIN", "DB_NAME_SERVER", "DEV_TENANT_ID",
    "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET", "S3_REGION",
)  # fmt: skip


def installed_by_the_script(project: Project, name: str = "com.example.hello") -> str:
    """Do what the script does, with the variables that it reads and no other; the object's key."""
    given = {name: project.secrets()[name] for name in READ_BY_THE_SCRIPT}
    tenant = given["DEV_TENANT_ID"]
    alga.install(project, tenant, name=name, digest=f"sha256:{DIGEST}")
    ((registry,),) = project.sql("SELECT id::text FROM extension_registry WHERE name = %s", name)
    key = f"tenants/{tenant}/extensions/{registry}/sha256/{DIGEST}/bundle.tar.zst"
    store(given).put_object(Bucket=given["S3_BUCKET"], Key=key, Body=ARCHIVE)
    project.sql(
        "UPDATE extension_bundle SET storage_url = %s WHERE content_hash = %s",
        f"{given['S3_ENDPOINT']}/{given['S3_BUCKET']}/{key}",
        f"sha256:{DIGEST}",
    )
    return key


def store(given: Mapping[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=given["S3_ENDPOINT"],
        aws_access_key_id=given["S3_ACCESS_KEY"],
        aws_secret_access_key=given["S3_SECRET_KEY"],
        region_name=given["S3_REGION"],
    )


def advised(project: Project, *arguments: str) -> tuple[int, str]:
    """The exit code of `plan`, and the `up` that it advises without the `-f`; empty if none."""
    done = project.text("plan", *arguments)
    _, _, advice = done.stderr.partition("next: algaenv ")
    words = advice.partition("  ")[0].split()
    if "-f" in words:
        place = words.index("-f")
        del words[place : place + 2]
    return done.returncode, " ".join(words)


@pytest.mark.slow
def test_what_plan_advises_can_succeed(running: Project) -> None:
    project = running
    served = project.page()
    key = installed_by_the_script(project)
    assert key in project.objects()
    assert advised(project) == (7, "")
    assert project.up().codes() == {"not-ours"}
    code, advice = advised(project, "--adopt")
    assert (code, advice) == (0, "up --adopt")
    assert project.up(*advice.split()[1:]).ok().steps()["update release/hello"] == "done"
    assert project.page() == served
    assert advised(project) == (0, "")


@pytest.mark.slow
def test_another_extension_of_the_script_is_left_alone(running: Project) -> None:
    project = running
    name = "com.example.scripted"
    key = installed_by_the_script(project, name)
    try:
        assert advised(project) == (0, "")
        assert project.up().ok().changed == 0
        assert key in project.objects()
    finally:
        # The environment is shared, and `up` of the next test leaves them alone as well.
        project.s3().delete_object(Bucket="extensions", Key=key)
        for table in ("tenant_extension_install", "extension_version"):
            project.sql(
                f"DELETE FROM {table} WHERE registry_id IN"
                " (SELECT id FROM extension_registry WHERE name = %s)",
                name,
            )
        project.sql("DELETE FROM extension_registry WHERE name = %s", name)
