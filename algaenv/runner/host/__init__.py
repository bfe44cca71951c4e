"""Host functions that handlers may call: one module for each interface of the world."""
