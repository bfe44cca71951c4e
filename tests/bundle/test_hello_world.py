from pathlib import Path

import algaenv
from algaenv.bundle.collect import collect
from algaenv.bundle.layout import registry_id

STACK = Path(algaenv.__file__).parents[1] / "stacks/hello-world"


def test_our_own_extension_has_nothing_to_complain_of() -> None:
    tree = collect(STACK / "extension")
    assert tree.warnings == ()
    assert [entry.path for entry in tree.entries] == [
        "manifest.json",
        "ui/app.js",
        "ui/index.html",
        "ui/style.css",
    ]
    manifest = tree.manifest
    assert registry_id(manifest.publisher, manifest.name) == "b072638c-9f17-53e8-8eaf-c2337887c9ba"
    assert manifest.providers() == ("cap:context.read", "cap:log.emit", "cap:user.read")
