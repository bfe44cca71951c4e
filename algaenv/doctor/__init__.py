"""Checks of this machine, of a spec and of its environment: what is wrong, why, how to mend it."""
