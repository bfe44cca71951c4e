"""The bundled runner beside floors of the same machine, in the same run."""
