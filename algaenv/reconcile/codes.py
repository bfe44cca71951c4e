"""The problem codes of a run as a whole, for the reference page that lists them.

They are raised here, and in modules without a list of their own: the plan, the use cases and the
wiring.
"""

from __future__ import annotations

CODES: tuple[tuple[str, str], ...] = (
    ("checkout-moved", "a checkout was moved here, and its environment was found again"),
    (
        "database-moved",
        "the spec names another database than the last run, whose rows of ours stay (a warning)",
    ),
    ("disk-full", "a service ended while it was starting, for the disk is full"),
    (
        "engine-unreachable",
        "the Docker runtime is asked for, or holds the environment, and no engine answers",
    ),
    ("extension-absent", "an extension is called that is in the spec, but not installed"),
    (
        "extension-not-answering",
        "an extension's page, or an endpoint of its `probe`, does not answer through the gateway",
    ),
    ("extension-twice", "two extensions of the spec have the same publisher and name"),
    ("extension-unknown", "a command names an extension that neither spec nor gateway knows"),
    ("gateway-none", "an extension is called, but the spec wants no gateway"),
    ("handler-broken", "the runner cannot compile or link an extension's handler"),
    ("left-behind", "something of this environment could not be removed"),
    ("not-answering", "a service or page gave an answer that waiting does not mend"),
    ("not-ours", "something in the way carries no mark of this environment"),
    ("not-up", "an extension is called, but the environment has not been brought up"),
    ("not-ready", "a service or page did not answer in time"),
    ("probe-undeclared", "`probe` names an endpoint that the manifest does not declare"),
    ("runtime-move", "the environment would leave its data with another runtime"),
    ("runtime-switch", "the environment is still up under the other runtime"),
    ("service-ended", "a service ended while it was starting; its last lines are shown"),
    ("state-left", "another checkout, or a spec that is gone, left its state beside this one"),
    ("unexpected", "a step failed through a bug in algaenv; where it happened is shown"),
)
