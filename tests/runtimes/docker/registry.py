"""A registry on loopback that gives out one tiny image, and misbehaves on request."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_CONFIG = "application/vnd.docker.container.image.v1+json"


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Image:
    """An image with one file, which makes it unlike any other."""

    manifest: bytes
    blobs: dict[str, bytes]

    @property
    def digest(self) -> str:
        return sha256(self.manifest)


def make_image(mark: str, architecture: str = "amd64") -> Image:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        header = tarfile.TarInfo("mark")
        header.size = len(mark)
        archive.addfile(header, io.BytesIO(mark.encode()))
    layer = gzip.compress(stream.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/mark"]},
            "rootfs": {"type": "layers", "diff_ids": [sha256(stream.getvalue())]},
            "history": [{"created": "2020-01-01T00:00:00Z"}],
        }
    ).encode()
    blobs = {sha256(layer): layer, sha256(config): config}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(config), "digest": sha256(config)},
        "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": sha256(layer)}],
    }
    return Image(json.dumps(manifest).encode(), blobs)


@dataclass
class Registry:
    """`faults` maps a repository to the statuses its next answers have; 0 means: another image."""

    host: str
    image: Image
    other: Image
    faults: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def repository(self, name: str, *faults: int) -> str:
        self.faults[name] = list(faults)
        return f"{self.host}/{name}"

    def answer(self, repository: str, kind: str, reference: str) -> tuple[int, bytes, str]:
        self.asked.append(f"{repository} {kind} {reference}")
        if kind == "blobs":
            content = (self.image.blobs | self.other.blobs).get(reference)
            return (200, content, "application/octet-stream") if content else (404, b"", "")
        faults = self.faults.get(repository, [404])
        fault = faults.pop(0) if faults and faults[0] != -1 else (404 if faults else 200)
        if fault == 0:
            faults.append(0)
            return 200, self.other.manifest, MANIFEST
        if fault != 200:
            code = {401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN"}
            word = code.get(fault, "TOOMANYREQUESTS" if fault == 429 else "UNKNOWN")
            response = {"errors": [{"code": word, "message": word.lower().replace("_", " ")}]}
            return fault, json.dumps(response).encode(), "application/json"
        return 200, self.image.manifest, MANIFEST


@contextmanager
def serve(image: Image, other: Image) -> Iterator[Registry]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if parts == ["v2"]:
                self._send(200, b"{}", "application/json")
            else:
                *repository, kind, reference = parts[1:]
                self._send(*registry.answer("/".join(repository), kind, reference))

        do_HEAD = do_GET

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Content-Digest", sha256(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry = Registry(f"127.0.0.1:{server.server_address[1]}", image, other)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
