"""What MkDocs cannot do by itself: pages from outside of `docs`, links to sources, llms.txt.

Pages are written for GitHub, with links relative to the repository. README and the other pages
outside of `docs` become pages of the site; a link to any other file leads to the repository.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/algaenv/algaenv"
MERMAID = ROOT / ".venv" / "mermaid.min.js"
"""Where `.ci/mermaid` puts it."""
DRAWING = "assets/mermaid.min.js"
ADDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
    "stacks/samples/README.md": "samples/index.md",
}
"""File of the repository → page of the site; each sample is added to these."""
CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^()\s]+)(\))")
log = logging.getLogger("mkdocs.hooks.algaenv")


def _added() -> dict[str, str]:
    samples = sorted((ROOT / "stacks" / "samples").glob("*/README.md"))
    named = {str(it.relative_to(ROOT)): f"samples/{it.parent.name}.md" for it in samples}
    return {**ADDED, **named}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of `docs`, and mermaid."""
    for source, target in _added().items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    if MERMAID.is_file():
        script = File.generated(config, DRAWING, abs_src_path=str(MERMAID))
        files.append(script)
    else:
        log.warning("Diagrams would not be drawn: run .ci/mermaid .venv/mermaid.min.js")
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links that are relative to the repository into links of the site."""
    pages = _added()
    source = next(
        (ROOT / name for name, target in pages.items() if target == page.file.src_uri),
        ROOT / "docs" / page.file.src_uri,
    )

    def linked(match: re.Match[str]) -> str:
        return match[1] + _target(match[2], source, page.file.src_uri, pages) + match[3]

    done, last = [], 0
    for code in CODE.finditer(markdown):
        done += [LINK.sub(linked, markdown[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*done, LINK.sub(linked, markdown[last:])])


def _target(link: str, source: Path, here: str, pages: dict[str, str]) -> str:
    url = urlsplit(link)
    if url.scheme or not url.path:
        return link
    path = Path(os.path.normpath(source.parent / url.path))
    name = path.relative_to(ROOT).as_posix()
    fragment = f"#{url.fragment}" if url.fragment else ""
    inside = pages.get(name) or (name.removeprefix("docs/") if name.startswith("docs/") else "")
    if inside and path.is_file():
        return os.path.relpath(inside, Path(here).parent) + fragment
    kind = "blob" if path.is_file() else "tree"
    if not path.exists():
        log.warning("%s has a link to %s, which is not there", source.relative_to(ROOT), link)
    return f"{REPOSITORY}/{kind}/main/{name}{fragment}"


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Load mermaid, 3.5 MB, where a diagram is; the theme takes it instead of one from a server."""
    if '<pre class="mermaid">' not in output:
        return output
    address = get_relative_url(DRAWING, page.url)
    return output.replace("</head>", f'<script src="{address}"></script></head>', 1)


def on_nav(nav: Navigation, config: MkDocsConfig, **_: object) -> Navigation:
    """Keep the navigation for llms.txt."""
    config.extra["_nav"] = nav
    return nav


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt, llms-full.txt, and each page as Markdown beside itself."""
    nav: Navigation = config.extra.pop("_nav")
    index = [f"# {config.site_name}", f"> {config.site_description}"]
    whole = []
    for item in nav.items:
        pages = _pages(item)
        lines = []
        for page in pages:
            target = Path(config.site_dir, page.file.src_uri)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(page.markdown or "", encoding="utf-8")
            lines.append(f"- [{page.title}]({config.site_url}{page.file.src_uri})")
            whole.append(f"<!-- {page.file.src_uri} -->\n\n{page.markdown}")
        index.append(f"## {item.title}\n\n" + "\n".join(lines))
    Path(config.site_dir, "llms.txt").write_text("\n\n".join(index) + "\n", encoding="utf-8")
    Path(config.site_dir, "llms-full.txt").write_text("\n\n".join(whole) + "\n", encoding="utf-8")


def _pages(item: object) -> list[Page]:
    """A page of the navigation, or all pages of a section, in order."""
    match item:
        case Page():
            return [item]
        case Section(children=children):
            return [page for child in children for page in _pages(child)]
        case _:
            return []
