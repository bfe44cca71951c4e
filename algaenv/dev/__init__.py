"""`algaenv dev`: watches the sources, and brings the environment up again after each change."""
