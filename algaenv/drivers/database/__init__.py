"""Alga's rows in PostgreSQL: read in bulk, compared, written and deleted in transactions."""
