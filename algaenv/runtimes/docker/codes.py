"""Every problem code this runtime raises, with its meaning in one line, for the reference page."""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("container-exited", "a container ended, or keeps restarting, soon after its start"),
    ("data-version", "a volume of the database was made by another PostgreSQL than is wanted"),
    ("docker-config", "the configuration of Docker's command line has something of a wrong kind"),
    ("docker-host", "DOCKER_HOST is no address of an engine"),
    ("engine-conflict", "the engine says that something else is in the way"),
    ("engine-denied", "this user may not talk to the engine"),
    ("engine-disk-full", "the engine has no space left on its disk"),
    ("engine-elsewhere", "the engine is on another machine, whose loopback cannot be reached"),
    ("engine-failed", "the engine tried and failed"),
    ("engine-gone", "no container engine answers"),
    ("engine-refused", "the engine does not accept a request"),
    ("engine-slow", "the engine did not answer in time"),
    ("engine-too-old", "the engine speaks only versions of its API that are too old"),
    ("image-architecture", "an image is made for another kind of processor than the engine's"),
    ("image-build-failed", "building an image ended with an error"),
    ("image-denied", "no registry gives the image out"),
    ("image-gone", "an image that a container needs has been removed meanwhile"),
    ("image-no-recipe", "an engine's profile names no recipe by which its image could be built"),
    ("image-not-pullable", "an engine's profile names no image that could be pulled"),
    ("image-unreachable", "no registry that may have the image answers"),
    ("image-wrong-digest", "a registry handed out something else than what was asked for"),
    ("mount-source-missing", "a file or directory to mount does not exist"),
    ("name-taken", "something that is not ours has the name of a thing to be made"),
    ("network-in-use", "a container that is not ours is attached to the network"),
    ("network-pool-exhausted", "the engine has no addresses left for another network"),
    ("not-ours", "a thing to be removed carries no mark of this environment"),
    (
        "package-missing",
        "a Python package that the image of runner or gateway needs is not installed",
    ),
    ("port-taken", "a port on 127.0.0.1 is held by something else"),
    ("recipe-broken", "a build recipe for an image cannot be read, or asks for what is not there"),
    ("volume-in-use", "a container that is not ours uses the volume"),
)
