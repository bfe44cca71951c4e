"""Figures for Prometheus, of all worker processes together.

No label names a tenant or an extension: their ids come with requests, which anybody inside the
network can make up, and a series once made stays for ever. The log has them line by line.
"""
