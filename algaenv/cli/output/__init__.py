"""What is printed: views of a run, texts of plans and statuses, JSON, and the log."""
