"""Handlers of JavaScript that run from source: bundled by esbuild, and laid out to be packed.

`HandlerBundler` makes one text of the modules of a handler, `dev_tree` the directory of a bundle
around it. The runner's side is `algaenv.runner.components.shell`.
"""

from __future__ import annotations

from algaenv.drivers.dev_shell.bundler import Bundled, HandlerBundler
from algaenv.drivers.dev_shell.tree import dev_tree, find_entry

__all__ = ["Bundled", "HandlerBundler", "dev_tree", "find_entry"]
