"""Drivers of the process runtime: folders, processes, and the PostgreSQL cluster."""
