"""Images made on this machine: what goes in, what it hashes to, and how it becomes a root tree.

No registry and no base image are needed. A program runs with the libraries it is linked to and a
handful of files; those are on this machine already, since the program runs here too.
"""
