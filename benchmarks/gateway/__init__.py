"""Speed of the gateway, in an environment as `algaenv up` makes it."""
