"""What the author wrote: text in, an Intent out; every complaint has file, line and column."""
