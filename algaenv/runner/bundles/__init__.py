"""Bundles: the object store, the cache on disk, and its eviction."""
