"""The nouns: frozen values that every other room passes around. No verbs, no I/O, no logging."""
