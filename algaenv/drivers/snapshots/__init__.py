"""Snapshots: the store and the database of an environment, kept under a name and put back."""
