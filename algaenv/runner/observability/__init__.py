"""The access log, the guests' log, and Prometheus metrics of all workers together.

No label names a tenant or an extension: their ids come with requests, which any client inside the
network can make up, and a series once created is kept. The log has them line by line.
"""
