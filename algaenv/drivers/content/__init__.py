"""Object store and database as one host of content: one snapshot, one driver for each kind."""
