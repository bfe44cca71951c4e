"""Where answers differ from the product's on purpose.

Each has its reason in `docs/explanation/gateway-differences.md`, under the same name. Faults of the
product that are reproduced are in `quirks`.
"""

from __future__ import annotations

DIFFERENCES = {
    "refusals-are-not-stored": "refusals say cache-control: no-store",
    "headers-for-authors": "answers have x-algaenv-… headers, and problem+json for who accepts it",
    "users-are-selected": "users are selected and not signed in; pages of other sites are refused",
    "bodies-are-bounded": "bodies through the proxy and answers of the runner end at 64 MiB",
    "slow-and-large-requests": "a body that does not come is 408, a head above 64 KiB 431",
    "paths-that-are-no-text": "a path that is no UTF-8 is 404",
    "redirects-of-the-runner": "a redirect of the runner itself is not followed",
    "installs-are-read-once": "an install is read in one statement and cannot change in between",
    "audit-is-short-and-later": "rows of the audit are shortened and end after the answer",
    "debug-stream-without-redis": "the debug stream without Redis is 503",
    "debug-stream-goes-on": "the debug stream has ids, a tail and Last-Event-ID",
    "database-that-does-not-answer": "a runner is told 503 when the database does not answer",
    "slow-bodies-of-runners": "a body of a runner that does not come is 408",
    "cron-without-meaning": "an enabled schedule whose cron means nothing is 400",
    "time-zones": "time zones are those of this machine's database",
    "retries-of-runs": "retries of failed runs are kept in memory",
    "no-job-rows": "schedules have no rows of a job queue",
    "large-answers-of-runs": "an answer to a run ends at 64 MiB",
    "clients-and-services-of-the-settings": "clients and services are those of the settings",
    "invoices-are-not-booked": "invoices are added up, never taxed or booked",
    "sums-beyond-the-database": "sums too large for the database are 400 with a sentence",
    "words-of-schemas": "some schema keywords refuse in other words",
    "patterns-of-schemas": "patterns of schemas are those of Python",
    "paths-that-climb": "paths of pages that climb are 404",
    "slash-at-the-end": "a slash at the end of a page's path goes on to the runner",
    "routes-that-leave-the-proxy": "a page cannot call routes outside of the proxy",
    "calls-name-their-user": "calls of a page name their user in a header",
    "routes-that-are-no-text": "a route that is no text is refused in other words",
    "panel-beside-the-frame": "a panel beside the frame tells what happens",
}
"""Name → what differs."""
