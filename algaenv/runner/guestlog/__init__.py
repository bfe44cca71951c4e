"""What guests say: into the log of the service, and into a Redis stream for those who debug."""
