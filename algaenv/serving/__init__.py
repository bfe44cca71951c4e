"""What the HTTP services, runner and gateway, have in common."""
