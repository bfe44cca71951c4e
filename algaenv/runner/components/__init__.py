"""Components compiled once, outside the service, and kept where only it can write.

`CompiledComponents` has native code on disk, `LoadedComponents` has it in memory. Import the module
you need: the process that compiles imports from here too and must start quickly.
"""
