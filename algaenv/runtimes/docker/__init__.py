"""Services as containers of a Docker engine, in images that are pulled or built on this machine."""
