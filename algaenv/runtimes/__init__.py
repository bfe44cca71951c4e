"""How services become things: one package a runtime, and what runtimes share."""
