"""What an environment keeps in its private directory: saved state, secrets, ports and its lock."""
