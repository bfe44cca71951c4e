"""Locks, processes, files and HTTP of this machine, for every other package: standard library only.

Imports neither pathlib nor anything else that is slow: the supervisor of a service starts with it.
"""
