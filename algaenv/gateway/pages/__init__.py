"""What a browser sees: the list of extensions, the page around one of them, and the invoices."""

from algaenv.gateway.pages.routing import routes

__all__ = ["routes"]
