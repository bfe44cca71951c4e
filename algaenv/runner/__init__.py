"""The runner: an HTTP service that serves extension bundles the way Alga's own runner does.

It imports `algaenv.bundle`, `algaenv.serving`, `algaenv.system` and no other package of ours, so
that it can live in an image of its own. Import the module you need; nothing is re-exported here.
"""
