"""Services as supervised processes of this machine, where there is no container engine.

The services listen on the same ports of 127.0.0.1 as containers would. Their programs come from
wheels, PATH or Go's bin directory. All their files are in the environment's state directory:

    data/<service>-<engine>/   marker, and `content/` for the service itself; outlives `down`
    etc/<service>/             generated files, secrets among them; 0600
    logs/<service>.log         bounded, one older file kept
    run/<service>.json         the record of the service and its supervisor

Services outlive the command that started them, are identified by pid and start time or by marks in
their environment (never by name), leave no orphans, and can run PostgreSQL as root. This runtime
cannot run container images, mount volumes, limit resources or restart services after a reboot. It
needs Linux: /proc, pidfds and parent-death signals.
"""
