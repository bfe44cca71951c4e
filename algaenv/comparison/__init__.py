"""What differs between the answers of two targets that were put the same call. Pure."""
