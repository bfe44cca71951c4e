"""The contract of Alga's extension runner, put to any runner over HTTP.

    pytest tests/runner/conformance                      our own runner, started as needed
    pytest tests/runner/conformance --runner-url URL     one that somebody else started

For the second, start that runner with the variables that `--runner-environment` prints (together
with `--runner-profile NAME` and `--runner-peers-port N`, as in the run that follows), and leave
parallel runs off: there is one runner, and one set of peers on fixed ports. Cases of other
profiles are skipped as not applicable. `--runner-kind original` judges the answers by what Alga's
runner does where ours differs on purpose.

Only public ends are looked at: HTTP, what peers were asked, the debug stream, and the layout of
the cache directory where it can be read.
"""
