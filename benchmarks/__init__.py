"""Speed, as ratios against a peer in the same run; never as a time in a test."""
