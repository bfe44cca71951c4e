"""Hands and eyes for content, and the craft around it: one foreign library a file."""
