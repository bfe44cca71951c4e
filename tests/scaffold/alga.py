"""A directory shaped like Alga's repository: a compose file, variables of the runner, samples."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from algaenv.spec.paths import stacks_root

COMPOSE = """services:
  extension-runner:
    build: {context: ./ee/runner}
    env_file: [.env.runner]
    ports: ["${RUNNER_DOCKER_PORT:-8085}:8080"]
"""
HELLO = "ee/extensions/samples/hello-world"


def make_alga(root: Path, *, runner: int = 8085, store: int = 4569) -> None:
    """Write it."""
    (root / "docker-compose.runner-dev.yml").write_text(COMPOSE)
    (root / ".env.runner").write_text(
        "# ours\n"
        "RUNNER_REGISTRY_BASE_URL=http://host.docker.internal:3000/api/internal/ext-runner\n"
        f"RUNNER_BUNDLE_STORE_BASE=http://host.docker.internal:{store}/extensions\n"
        "RUNNER_ALGA_AUTH_KEY=local-runner-key\n"
        "RUST_LOG=info\n"
        "EXT_CACHE_ROOT=/app/tmp-ext\n"
        f"RUNNER_DOCKER_PORT={runner}\n"
    )
    (root / "ee/runner").mkdir(parents=True)
    (root / "ee/runner/Dockerfile").write_text("FROM scratch\n")
    (root / HELLO).parent.mkdir(parents=True)
    shutil.copytree(stacks_root() / "hello-world/extension", root / HELLO)
    shutil.copytree(root / HELLO, root / "ee/extensions/samples/twin")
    manifest(root / "extensions/outdated", name="com.alga.outdated", version="1")
    linked = manifest(root / "extensions/linked", name="com.alga.linked")
    package = {
        "scripts": {"build": "esbuild src/a.ts"},
        "dependencies": {"@alga/ui-kit": "file:../../packages/ui-kit"},
    }
    (linked / "package.json").write_text(json.dumps(package))
    manifest(root / "node_modules/somebody", name="com.alga.elsewhere")
    (root / "server/public").mkdir(parents=True)
    (root / "server/public/manifest.json").write_text('{"name": "a web app", "display": "browser"}')


def manifest(directory: Path, **more: Any) -> Path:
    """Write a manifest, and return the directory."""
    described = {"publisher": "Alga", "version": "1.0.0", "runtime": "wasm-js@1"} | more
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.json").write_text(json.dumps(described))
    return directory
