"""Probes: one request that tells whether a service or an extension is ready."""
