"""One module a command: its help texts, its arguments and `run`."""

from __future__ import annotations

COMMANDS: tuple[tuple[str, str], ...] = (
    ("init", "write a spec for what a directory holds, or copy a sample"),
    ("new", "begin an extension from a template"),
    ("up", "bring the environment to what the spec says, and wait until it answers"),
    ("dev", "`up`, and again after each save, until it is ended (also: watch)"),
    ("test", "bring it up, then run the checks of the spec, or a program"),
    ("plan", "show what `up` would do, and change nothing"),
    ("lock", "write the versions that run into algaenv.lock, or compare with it"),
    ("bundle", "carry all that an `up` needs to a machine without a network"),
    ("drift", "show what something else changed since the last `up`"),
    ("ps", "list the environments of this machine (also: ls)"),
    ("status", "show what is there, and under which addresses"),
    ("logs", "show what services and handlers write, merged by time"),
    ("trace", "show what requests do, from the gateway's decision to the answer"),
    ("call", "call a handler of an extension through the gateway"),
    ("replay", "make a recorded call again, and show where the answer differs"),
    ("compare", "put the same calls to two gateways, and show where they differ"),
    ("parity", "compare the same spec on Docker and as processes"),
    ("open", "show the page of an extension in a browser"),
    ("rollback", "go back to a version of an extension that was kept"),
    ("snapshot", "keep the store and the database under a name, and put them back"),
    ("restart", "start services anew"),
    ("run", "run a task of the spec by hand"),
    ("wait", "wait until services and extensions answer"),
    ("exec", "run a program with the variables and the clients of a service"),
    ("down", "remove the environment; its data is kept unless asked"),
    ("doctor", "check this machine, the spec and its environment for what is wrong"),
    ("explain", "explain a problem code, an extension, or a field of the spec"),
    ("validate", "check the spec without touching anything"),
    ("schema", "print a JSON Schema: of the spec, or of what a command prints"),
    ("mcp", "serve the commands as tools to agents and editors"),
    ("compose", "bring it up and down as a service of a Compose file"),
    ("completion", "print what has a shell complete commands and names"),
    ("version", "print the version"),
)
"""Each command has a module of its name here, imported only when it runs."""
TAKE_PROGRAMS = frozenset({"exec", "test"})
"""Commands that run a program: what follows `--` is its command line."""
ALIASES = {"ls": "ps", "watch": "dev"}
"""Other names of commands."""
