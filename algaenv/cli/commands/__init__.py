"""One module a command: its help texts, its arguments and `run`."""
