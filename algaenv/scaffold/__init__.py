"""Writes what an author begins with: extensions from templates, and specs."""
