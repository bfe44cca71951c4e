"""How a source is built, as its own files tell it: the steps of `build: auto`."""
