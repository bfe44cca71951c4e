"""The manifest of an extension: strict JSON, the rules it must pass, and the values it gives."""
