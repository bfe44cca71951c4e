"""Drivers of the Docker runtime: one module per kind. They decide nothing; the plan has decided."""
