"""The floor: instantiate and call in one process, by wasmtime-py's own component layer.

No service, no HTTP, no JSON around the call, no threads: one engine with epoch interruption, the
component deserialized once, one linker. Each call has a store with a memory limit and a deadline,
an instance, the handler looked up, the call itself, and the store closed: what the package's
documentation has one write. Host functions answer from memory.

    python -m benchmarks.runner.stock <component> <scratch> <path>

Reads numbers, a line each, and answers with as many seconds in JSON; the first line it prints is
`{"compile": seconds, "body": …}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.runner.components import EXTENSION, SECRET, TENANT, USER


def main(component: Path, scratch: Path, path: str) -> None:
    from wasmtime import Config, Engine, Store
    from wasmtime.component import Component

    settings = Config()
    settings.epoch_interruption = True
    engine = Engine(settings)
    content = component.read_bytes()
    started = time.perf_counter()
    compiled = Component(engine, content)
    seconds = time.perf_counter() - started
    file = scratch / "floor.cwasm"
    file.write_bytes(compiled.serialize())
    del compiled
    loaded = Component.deserialize_file(engine, str(file))
    linker = _linker(engine, loaded)

    def once() -> tuple[float, bytes]:
        began = time.perf_counter()
        store = Store(engine)
        store.set_limits(memory_size=256 << 20)
        store.set_epoch_deadline(1 << 40)
        try:
            handler = linker.instantiate(store, loaded).get_func(store, "handler")
            response = handler(store, _request(path))
        finally:
            store.close()
        return time.perf_counter() - began, response.body

    print(json.dumps({"compile": seconds, "body": once()[1].decode()}), flush=True)
    for line in sys.stdin:
        print(json.dumps([once()[0] for _ in range(int(line))]), flush=True)


def _record(**fields: object) -> Any:
    from wasmtime.component import Record

    made = Record()
    made.__dict__.update({name.replace("_", "-"): value for name, value in fields.items()})
    return made


def _request(path: str) -> Any:
    return _record(context=_context(), http=_record(method="GET", url=path, headers=[], body=None))


def _context() -> Any:
    return _record(
        request_id="r-1",
        tenant_id=TENANT,
        extension_id=EXTENSION,
        install_id=None,
        version_id=None,
    )


def _linker(engine: Any, component: Any) -> Any:
    from wasmtime.component import Linker, Variant

    user = _record(tenant_id=TENANT, **USER)
    answers: dict[tuple[str, str], Callable[..., Any]] = {
        ("context", "get-context"): lambda _: _context(),
        ("secrets", "get"): lambda _, key: Variant("ok", SECRET[key]),
        ("storage", "get"): lambda *_: "denied",
        ("user", "get-user"): lambda _: user,
        **{("logging", f"log-{level}"): lambda *_: None for level in ("info", "warn", "error")},
    }

    def refuse(*_: object) -> None:
        raise NotImplementedError

    linker = Linker(engine)
    with linker.root() as root:
        for name, extern in component.type.imports(engine).items():
            interface = name.partition("/")[2]
            with root.add_instance(name) as instance:
                for item, kind in extern.ty.exports(engine).items():
                    if type(kind.ty).__name__ == "FuncType":
                        instance.add_func(item, answers.get((interface, item), refuse))
    return linker


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
