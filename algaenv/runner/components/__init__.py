"""Components compiled once, apart from the service, and kept where only it can write.

`Compiled` has a component's native code on disk, `Loaded` has it in memory. Import the module you
need; the process that compiles imports from here too and must start quickly.
"""
