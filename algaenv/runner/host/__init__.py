"""What a handler may ask of its host: one module for each interface of the world."""
