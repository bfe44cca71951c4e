"""The decisions, pure: what should be there, how it differs from what is, and in which order."""
