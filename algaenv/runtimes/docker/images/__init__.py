"""Images built on this machine: recipes, content hashes and root file systems.

No registry and no base image are needed. A program runs with its shared libraries and a few files,
which are on this machine already.
"""
