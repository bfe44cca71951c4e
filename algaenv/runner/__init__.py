"""The runner: an HTTP service that serves extension bundles the way Alga's own runner does.

It stands on `algaenv.bundle` and on nothing else of this project, so that it can live in an image
of its own. Import the module you need; nothing is re-exported here.
"""
