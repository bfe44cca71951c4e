"""Schedules of extensions: what handlers ask for, and the runs themselves."""
