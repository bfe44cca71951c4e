"""Builds extensions by their own commands, and packs what they hold into bundles."""
