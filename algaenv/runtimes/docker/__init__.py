"""Services as containers of a Docker engine, in images pulled by digest or made on this machine."""
