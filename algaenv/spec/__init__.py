"""Reads a spec: text in, an Intent out; every error has file, line and column."""
