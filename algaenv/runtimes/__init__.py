"""Runtimes run the services of an environment: one package each, and what they share."""
