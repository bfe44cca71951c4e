"""What moves things on the engine: one module a kind. Decides nothing; the plan has decided."""
