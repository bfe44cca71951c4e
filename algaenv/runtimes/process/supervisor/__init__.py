"""The supervisor of one service: a process that outlives the command that started it.

    new ──> running ── SIGTERM ──> stopping ──> stopped
               │  ^                                ^
               │  └── delay ── waiting ── SIGTERM ─┘
               ├── ends after `steady` seconds ──> waiting
               └── ends earlier, or cannot be restarted ──> exited

Every state is written to the record of the service. Standard library only, and no slow import: a
supervisor must start in the time that the interpreter takes.
"""
