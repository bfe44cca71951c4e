"""Planning, without I/O: what should exist, how it differs from what exists, and in which order."""
