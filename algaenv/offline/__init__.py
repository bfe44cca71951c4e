"""An archive with which a machine without a network can bring a spec up."""
