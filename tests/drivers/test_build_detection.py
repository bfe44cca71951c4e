"""What `build: auto` finds in a source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from algaenv.drivers.build.detection.detect import build_hint, detect, detect_build
from algaenv.drivers.build.detection.project import Detected
from algaenv.drivers.build.detection.scripts import commands_of
from algaenv.drivers.build.watched import watched_paths
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.problem import ResolveError, Where

WHERE = Where("algaenv.yaml", 7, 13)
LOCK = {"lockfileVersion": 3, "packages": {"": {}, "node_modules/jco": {"version": "1.0.0"}}}
MANIFEST = {"api": {"endpoints": [{"method": "GET", "path": "/", "handler": "x"}]}}
JCO = "jco componentize dist/js/handler.js --wit wit --world-name runner -o dist/main.wasm"
ESBUILD = "esbuild src/handler.ts --bundle --outfile=dist/js/handler.js"


def write(root: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def found(root: Path, source: str = ".") -> Detected:
    detected = detect(root, source, BuildIntent((), str(root), {"MODE": "dev"}, 60.0))
    assert detected is not None
    for step in detected.steps:
        assert step.environment["MODE"] == "dev"
        assert step.timeout == 60
    return detected


def texts(detected: Detected) -> list[str]:
    return [" ".join(it.command) for it in detected.steps]


def named(detected: Detected, name: str) -> BuildStep:
    (step,) = [it for it in detected.steps if it.name == name]
    return step


def test_a_project_of_npm_with_a_handler_and_a_page(tmp_path: Path) -> None:
    scripts = {
        "types": "jco guest-types wit --world-name runner --out-dir generated",
        "check": "npm run types && tsc",
        "prebundle": "node prepare.mjs",
        "bundle": ESBUILD,
        "component": JCO,
        "build": "npm run check && npm run bundle && npm run component",
        "build:ui": "vite build",
        "test": "vitest",
    }
    write(tmp_path, {"package.json": {"scripts": scripts}, "package-lock.json": LOCK})
    detected = found(tmp_path)
    assert detected.tools == ("npm", "jco", "tsc", "node", "esbuild", "vite")
    assert [it.name for it in detected.steps] == [
        *("install", "types", "check", "prebundle", "bundle", "component", "build:ui"),
    ]
    assert texts(detected)[0].endswith("node_packages install .")
    assert texts(detected)[1:] == [
        *(scripts["types"], "tsc", "node prepare.mjs", ESBUILD, JCO, "vite build"),
    ]
    install, component = detected.steps[0], named(detected, "component")
    assert (install.inputs, install.outputs) == (
        ("package-lock.json", "package.json"),
        ("node_modules",),
    )
    assert component.inputs == ("dist/js/handler.js", "wit", "package.json", "package-lock.json")
    assert component.outputs == ("dist/main.wasm",)
    assert named(detected, "bundle").outputs == ("dist/js/handler.js",)
    assert named(detected, "types").outputs == ("generated",)
    assert detected.programs == ("node_modules/.bin",)


@pytest.mark.parametrize(
    ("lock", "command"),
    [
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile --prefer-offline"),
        ("yarn.lock", "yarn install --frozen-lockfile --prefer-offline"),
    ],
)
def test_other_package_managers(tmp_path: Path, lock: str, command: str) -> None:
    write(tmp_path, {"package.json": {"scripts": {"build": "vite build"}}, lock: "x"})
    detected = found(tmp_path)
    assert texts(detected) == [command, "vite build"]
    assert detected.tools[0] == lock.partition(".")[0].removesuffix("-lock")


def test_yarn_of_today_makes_packages_that_tools_find(tmp_path: Path) -> None:
    files = {"package.json": {"scripts": {"build": "vite build"}}, ".pnp.cjs": "x"}
    write(tmp_path, {**files, "yarn.lock": "__metadata:\n  version: 8\n", ".yarnrc.yml": "x"})
    install, _ = found(tmp_path).steps
    assert install.command == ("yarn install --immutable",)
    assert install.environment["YARN_NODE_LINKER"] == "node-modules"
    assert install.inputs == ("yarn.lock", "package.json", ".yarnrc.yml")
    assert install.outputs == ("**/node_modules", ".pnp.cjs", ".pnp.loader.mjs")


def test_packages_of_the_workspace_are_installed_in_it(tmp_path: Path) -> None:
    lock = {"packages": {"": {}, "packages/shared": {}, "node_modules/s": {"link": True}}}
    write(
        tmp_path,
        {
            "package.json": {"workspaces": ["packages/*"]},
            "package-lock.json": lock,
            "packages/hello/package.json": {
                "scripts": {"build": "tsc && vite build --outDir dist/ui"}
            },
        },
    )
    detected = found(tmp_path, "packages/hello")
    assert "**/*.ts" in named(detected, "build").inputs, "what it imports of other packages"
    assert texts(detected)[0] == "cd ../.. && npm ci --no-audit --no-fund --prefer-offline"
    assert detected.steps[0].outputs == ("**/node_modules",)
    assert detected.steps[2].outputs == ("packages/hello/dist/ui",)
    assert detected.programs == ("packages/hello/node_modules/.bin", "node_modules/.bin")


VITE = {"scripts": {"build": "vite build --outDir ui"}}
MEMBERS = {
    "package.json": {"workspaces": ["packages/*", "apps/**", "!packages/old"]},
    "packages/money/package.json": {"name": "@a/money", "dependencies": {"@a/text": "*"}},
    "packages/text/package.json": {"name": "@a/text"},
    "packages/theme/package.json": {"name": "@a/theme"},
    "packages/other/package.json": {"name": "@a/other"},
    "packages/old/package.json": {"name": "@a/old"},
    "packages/no-package/x.ts": "",
    "apps/deep/second/package.json": {"name": "second", **VITE},
    "apps/first/package.json": {"name": "first", "devDependencies": {"@a/money": "*"}, **VITE},
    "tools/x.mjs": "",
}


def ignored(root: Path, source: str = "apps/first") -> set[str]:
    """What of the packages the build in `source` does not read."""
    (build,) = [it for it in found(root, source).steps if it.command == ("vite build --outDir ui",)]
    return {it for it in build.ignore if "/" in it}


def test_packages_that_a_project_does_not_name_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, MEMBERS)
    assert ignored(tmp_path) == {"apps/deep/second", "packages/other", "packages/theme"}
    build = named(found(tmp_path, "apps/first"), "build")
    assert {"*.md", ".github"} <= set(build.ignore)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vite.config.ts", "export default { alias: { theme: '../../packages/theme/src' } }"),
        ("tsconfig.app.json", '{"references": [{"path": "../../packages/theme"}]}'),
        ("tailwind.config.js", 'import preset from "@a/theme/preset";'),
    ],
)
def test_packages_that_a_configuration_names_are_read(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path, {**MEMBERS, f"apps/first/{file}": text})
    assert ignored(tmp_path) == {"apps/deep/second", "packages/other"}


@pytest.mark.parametrize(
    "packages",
    [
        'packages:\n  - "packages/*"\n  - apps/**\n  - "!**/old"\n',
        "packages: [packages/*, apps/*]\n",
    ],
)
def test_a_workspace_of_pnpm(tmp_path: Path, packages: str) -> None:
    write(tmp_path, {**MEMBERS, "package.json": {}, "pnpm-workspace.yaml": packages})
    assert {"packages/other", "packages/theme"} <= ignored(tmp_path)
    assert not {"packages/money", "packages/text", "apps/first"} & ignored(tmp_path)


@pytest.mark.parametrize(
    "root",
    [
        {},
        {"workspaces": ["packages/*"]},
        {"workspaces": {"packages": "x"}},
        {"workspaces": [1, "/etc", "../*", "."]},
    ],
)
def test_outside_of_the_packages_of_a_workspace_everything_is_read(
    tmp_path: Path, root: dict[str, Any]
) -> None:
    write(tmp_path, {**MEMBERS, "package.json": root})
    assert named(found(tmp_path, "apps/first"), "build").ignore == ()


def test_a_package_within_another_keeps_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **MEMBERS,
            "package.json": {"workspaces": {"packages": ["apps/*", "packages/*", "apps/*/ui"]}},
            "apps/whole/package.json": {"name": "whole"},
            "apps/whole/ui/package.json": {"name": "ui", **VITE},
        },
    )
    assert "apps/whole" not in ignored(tmp_path, "apps/whole/ui")
    assert "apps/first" in ignored(tmp_path, "apps/whole/ui")


def test_only_an_edit_of_a_package_that_is_used_counts(tmp_path: Path) -> None:
    write(tmp_path, MEMBERS)
    source = str(tmp_path / "apps/first")
    build = BuildIntent((), str(tmp_path), {}, 60.0)
    extension = ExtensionIntent("x", source, build, {}, {}, None, True, None, WHERE)
    watched = watched_paths(extension)
    counted = ("packages/money/x.ts", "packages/text/x.ts", "tools/x.mjs", "tsconfig.json")
    assert all(watched.counts(tmp_path / it) for it in counted)
    others = ("packages/other/x.ts", "apps/deep/second/x.ts", "CHANGELOG.md", ".github/x.yml")
    assert not any(watched.counts(tmp_path / it) for it in others)


BUILT: dict[str, Any] = {
    "package.json": {"workspaces": ["packages/*", "apps/*"]},
    "package-lock.json": {"packages": {"": {}, "node_modules/s": {"link": True}}},
    "packages/text/package.json": {
        "name": "@a/text",
        "main": "dist/index.js",
        "scripts": {"build": "tsc"},
    },
    "packages/money/package.json": {
        "name": "@a/money",
        "exports": {".": {"import": "./esm/x.js", "require": "./cjs/x.js"}},
        "scripts": {"build": "tsc && node copy.mjs"},
        "dependencies": {"@a/text": "*"},
    },
    "packages/other/package.json": {
        "name": "@a/other",
        "main": "dist/index.js",
        "scripts": {"build": "tsc"},
    },
    "packages/plain/package.json": {
        "name": "@a/plain",
        "main": "src/index.ts",
        "scripts": {"build": "tsc"},
    },
    "apps/first/package.json": {
        "name": "first",
        "dependencies": {"@a/money": "*", "@a/plain": "*"},
        **VITE,
    },
}


def test_packages_that_are_used_as_built_are_built_first(tmp_path: Path) -> None:
    write(tmp_path, BUILT)
    steps = found(tmp_path, "apps/first").steps
    assert [it.name for it in steps] == ["install", "packages/text", "packages/money", "build"]
    _, text, money, build = steps
    assert text.command == ("cd ../../packages/text && npm run build",)
    assert (text.outputs, money.outputs) == (
        ("packages/text/dist",),
        ("packages/money/cjs", "packages/money/esm"),
    )
    assert {"apps/first", "packages/money", "packages/plain"} <= set(text.ignore)
    assert "packages/text" not in money.ignore
    assert "packages/other" in build.ignore


@pytest.mark.parametrize(
    "change",
    [
        {"apps/first/package.json": {"name": "first", "scripts": {"build": "turbo run x"}}},
        {
            "apps/first/package.json": {
                "name": "first",
                "dependencies": {"@a/text": "*"},
                "scripts": {"build": "npm run build -w @a/text && vite build"},
            }
        },
        {"packages/text/dist/index.ts": "", "packages/money/esm/x.tsx": ""},
    ],
)
def test_packages_that_are_built_otherwise_are_left_alone(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write(tmp_path, {**BUILT, **change})
    assert not {it.name for it in found(tmp_path, "apps/first").steps} & {
        *("packages/text", "packages/money"),
    }


def test_packages_that_use_each_other_are_built_once(tmp_path: Path) -> None:
    text = {**BUILT["packages/text/package.json"], "dependencies": {"@a/money": "*"}}
    write(tmp_path, {**BUILT, "packages/text/package.json": text})
    assert [it.name for it in found(tmp_path, "apps/first").steps][1:3] == [
        *("packages/text", "packages/money"),
    ]


@pytest.mark.parametrize("own", ["prepare", "postinstall"])
def test_scripts_of_an_installation_run_in_the_project(tmp_path: Path, own: str) -> None:
    scripts = {"build": "vite build", own: "node x.mjs"}
    write(tmp_path, {"package.json": {"scripts": scripts}, "package-lock.json": LOCK})
    assert texts(found(tmp_path))[0] == "npm ci --no-audit --no-fund --prefer-offline"


def test_without_a_lock_file_the_authors_packages_are_used(tmp_path: Path) -> None:
    package = {"scripts": {"build": "vite build"}, "devDependencies": {"vite": "5"}}
    write(tmp_path, {"package.json": package})
    assert texts(found(tmp_path))[0] == "npm install --no-audit --no-fund --prefer-offline"
    (tmp_path / "node_modules").mkdir()
    assert texts(found(tmp_path)) == ["vite build"]


def test_the_cli_of_alga_is_replaced_by_what_algaenv_brings(tmp_path: Path) -> None:
    scripts = {
        "build": "alga build",
        "postbuild": "node ./scripts/postbuild.mjs",
        "pack": "alga pack",
    }
    write(
        tmp_path,
        {
            "package.json": {"scripts": scripts},
            "src/handler.ts": "export async function handler() {}",
            "src/index.ts": "export { handler } from './handler.js';",
            "wit/runner.wit": "package a:b;\nworld extension {\n}\n",
        },
    )
    detected = found(tmp_path)
    assert detected.tools == ("esbuild and jco of algaenv",)
    script, component = detected.steps
    assert "run esbuild src/index.ts --bundle" in texts(detected)[0]
    assert (
        "run jco componentize dist/js/handler.js --wit wit --world-name extension"
        in texts(detected)[1]
    )
    assert script.outputs == ("dist/js/handler.js",)
    assert component.inputs == ("dist/js/handler.js", "wit")
    assert component.outputs == ("dist/main.wasm",)


def test_a_handler_without_a_package_and_without_wit(tmp_path: Path) -> None:
    write(tmp_path, {"src/handler.js": "export function handler() {}", "manifest.json": MANIFEST})
    assert "--wit @alga --world-name runner" in texts(found(tmp_path))[1]


@pytest.mark.parametrize(
    "text",
    [
        "export async function handler(request) {}",
        "export const handler = async () => {};",
        "export {\n  a,\n  handler\n} from './x.js';",
    ],
)
def test_a_handler_is_what_exports_one(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"src/index.ts": text, "manifest.json": {"runtime": "wasm-js@1"}})
    assert [it.name for it in found(tmp_path).steps] == ["esbuild", "jco"]


def test_a_page_of_vite_beside_a_handler_without_a_componentizer(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "package.json": {"scripts": {"build": "tsc && vite build"}},
            "src/handler.ts": "export function handler() {}",
            "manifest.json": MANIFEST,
        },
    )
    detected = found(tmp_path)
    assert [it.name for it in detected.steps] == ["build", "esbuild", "jco"]
    assert detected.tools == ("vite", "esbuild and jco of algaenv")


@pytest.mark.parametrize(
    ("command", "configuration", "made"),
    [
        ("vite build", None, ("dist",)),
        ("vite build", "export default { build: { outDir: 'dist/ui' } }", ("dist/ui",)),
        ("vite build", 'export default { root: "web", build: { outDir: "../ui" } }', ("ui",)),
        ("vite build web --outDir=out", "", ("web/out",)),
        ("vite build", "export default { build: { outDir: resolve('x') } }", ()),
        ("vite build", "export default { build: { outDir: '../../x' } }", ()),
        ("vite build -c other.ts", "export default {}", ("own",)),
    ],
)
def test_where_vite_writes(
    tmp_path: Path, command: str, configuration: str | None, made: tuple[str, ...]
) -> None:
    write(tmp_path, {"package.json": {"scripts": {"build": command}}})
    if configuration is not None:
        write(tmp_path, {"vite.config.ts": configuration})
    write(tmp_path, {"other.ts": "export default { build: { outDir: 'own' } }"})
    assert found(tmp_path).steps[0].outputs == made


@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ("esbuild src/app.ts --bundle --outdir=dist", ("dist",)),
        ("esbuild src/app.ts --bundle --outfile=ui/app.js", ("ui/app.js",)),
        ("esbuild src/app.js --bundle --outfile=src/app.js --allow-overwrite", ()),
        ("esbuild ui/app.ts --bundle --outdir=ui", ()),
        ("esbuild --bundle main=ui/app.ts --outdir=ui", ()),
        ("esbuild src/app.ts --bundle --outdir=ui", ()),
        ("esbuild src/app.ts --bundle --outdir=.", ()),
        ("vite build --outDir dist/ui", ("dist/ui",)),
        ("vite build --outDir .", ()),
        ("vite build ui --outDir .", ()),
        ("jco componentize src/app.js -w wit -o dist/main.wasm", ("dist/main.wasm",)),
        ("jco guest-types wit -o wit", ()),
        ("jco guest-types wit -o wit/generated", ("wit/generated",)),
        ("jco guest-types wit -o .", ()),
    ],
)
def test_sources_are_no_outputs(tmp_path: Path, command: str, outputs: tuple[str, ...]) -> None:
    files = ("ui/index.html", "ui/app.ts", "src/app.ts", "src/app.js", "wit/a.wit", "manifest.json")
    built = ("dist/app.js", "dist/main.wasm", "dist/ui/index.html")
    write(tmp_path, {"package.json": {"scripts": {"build": command}}})
    for name in (*files, *(built if "esbuild" not in command else built[:2])):
        write(tmp_path, {name: "{}"})
    (step,) = [it for it in found(tmp_path).steps if it.name == "build"]
    assert step.outputs == outputs


def test_a_page_alone_needs_no_handler(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "package.json": {"scripts": {"build": "tsc && vite build"}},
            "src/index.ts": "const handler = () => 0;",
            "manifest.json": {"ui": {}},
        },
    )
    assert [it.name for it in found(tmp_path).steps] == ["build", "build-vite"]


def test_a_handler_in_a_directory_of_its_own(tmp_path: Path) -> None:
    scripts = {"build": f"{ESBUILD} && {JCO}"}
    write(tmp_path, {"manifest.json": MANIFEST, "component/package.json": {"scripts": scripts}})
    detected = found(tmp_path)
    assert texts(detected) == [
        f"cd component && {ESBUILD}",
        f"cd component && {JCO}",
        "mkdir -p dist && cp component/dist/main.wasm dist/main.wasm",
    ]
    assert detected.steps[2].inputs == ("component/dist/main.wasm",)
    assert detected.steps[2].outputs == ("dist/main.wasm",)


def test_rust(tmp_path: Path) -> None:
    crate = '[package]\nname = "my-handler"\n[lib]\ncrate-type = ["cdylib"]\n'
    write(tmp_path, {"hello/Cargo.toml": crate, "hello/Cargo.lock": "", "hello/src/lib.rs": ""})
    detected = found(tmp_path, "hello")
    assert detected.tools == ("cargo",)
    assert texts(detected) == [
        "cargo build --release --target-dir target --manifest-path Cargo.toml --locked"
        " --target wasm32-wasip2 && mkdir -p dist"
        " && cp target/wasm32-wasip2/release/my_handler.wasm dist/main.wasm"
    ]
    assert detected.steps[0].outputs == ("hello/dist/main.wasm",)
    assert "hello/ui" in detected.steps[0].ignore
    write(tmp_path, {"hello/Cargo.toml": f'{crate}[package.metadata.component]\npackage = "a:b"\n'})
    detected = found(tmp_path, "hello")
    assert detected.tools == ("cargo-component",)
    assert texts(detected)[0].startswith("cargo component build")
    assert "wasm32-wasip1/release/my_handler.wasm" in texts(detected)[0]


def test_python(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"app.py": "", "requirements.txt": "componentize-py==0.17", "wit/a.wit": "world w {}"},
    )
    detected = found(tmp_path)
    assert texts(detected) == [
        "mkdir -p dist && componentize-py -d wit -w w componentize -p . app -o dist/main.wasm"
    ]
    assert detected.steps[0].inputs == ("**/*.py", "wit", "requirements.txt")


def test_go(tmp_path: Path) -> None:
    write(tmp_path, {"go.mod": "module x", "main.go": "package main\n", "wit/a.wit": ""})
    assert texts(found(tmp_path)) == [
        "mkdir -p dist && tinygo build -target=wasip2 -o dist/main.wasm --wit-package wit"
        " --wit-world runner ./."
    ]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"package.json": {"scripts": {"test": "vitest"}}},
        {"package.json": "{"},
        {"package.json": "[]"},
        {"package.json": {"scripts": ["build"]}},
        {"Cargo.toml": "["},
        {"Cargo.toml": "[workspace]"},
        {"app.py": ""},
        {"go.mod": "module x", "lib.go": "package lib\n"},
        {"src/index.ts": "createRoot()", "manifest.json": MANIFEST},
    ],
)
def test_nothing_that_tells_how_it_is_built(tmp_path: Path, files: Mapping[str, Any]) -> None:
    write(tmp_path, files)
    build = BuildIntent((), str(tmp_path), {}, 60.0)
    intent = ExtensionIntent("hello", str(tmp_path), build, {}, {}, None, True, None, WHERE)
    with pytest.raises(ResolveError) as caught:
        detect_build(intent, build)
    problem = caught.value.problem
    assert problem.code == "build-undetected"
    assert problem.where == WHERE
    assert any("Cargo.toml" in it for it in problem.detail)
    assert build_hint(intent) == ""
    assert watched_paths(intent).counts(tmp_path / "src/a.ts"), "it may tell"


def test_what_is_found_is_watched(tmp_path: Path) -> None:
    scripts = {"build": f"{ESBUILD} && {JCO}"}
    write(tmp_path, {"package.json": {"scripts": scripts}, "package-lock.json": LOCK})
    build = BuildIntent((), str(tmp_path), {}, 60.0)
    counts = watched_paths(
        ExtensionIntent("hello", str(tmp_path), build, {}, {}, None, True, None, WHERE)
    ).counts
    assert all(counts(tmp_path / it) for it in ("src/a.ts", "package.json", "ui/index.html"))
    made = ("dist/main.wasm", "dist/js/handler.js", "node_modules/x.js")
    assert not any(counts(tmp_path / it) for it in made)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("a && b", ["a", "b"]),
        ("a; b", ["a; b"]),
        ("a | b", ["a | b"]),
        ("a & b", ["a & b"]),
        ("cd x && a", ["cd x && a"]),
        ("echo 'a && b' && c", ["echo 'a && b' && c"]),
        ("a 'b", ["a 'b"]),
        ("npm run other", ["x", "y"]),
        ("npm run other -- --flag", ["npm run other -- --flag"]),
        ("yarn other && pnpm run -s other", ["x", "y", "x", "y"]),
        ("npm run main", ["npm run main"]),
        ("npm run gone", ["npm run gone"]),
    ],
)
def test_scripts_are_taken_apart(text: str, commands: list[str]) -> None:
    scripts = {"main": text, "other": "x && y"}
    assert [it.text for it in commands_of(scripts, "main")] == commands


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("jco types", "jco"),
        ("npx --yes jco types", "jco"),
        ("NODE_ENV=production cross-env A=1 vite build", "vite"),
        ("./node_modules/.bin/esbuild x", "esbuild"),
        ("a | jco", ""),
        ("A=1", ""),
    ],
)
def test_the_program_of_a_command(text: str, program: str) -> None:
    (command,) = commands_of({"main": text}, "main")
    assert command.program == program
