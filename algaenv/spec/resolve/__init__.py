"""Resolves the validated document to an Intent: engines found, paths absolute, secrets read."""
