"""The object store: buckets, objects and the bundles in them."""
