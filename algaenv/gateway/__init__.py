"""The part of Alga's app server that extensions touch, without the rest of it.

A process of its own in front of a runner. It imports `algaenv.bundle`, `algaenv.serving`,
`algaenv.system`, `algaenv.problems` and no other package of ours. It reads and writes the tables
that a real app server would.
"""
