"""The explorer: a local web page over the pure predictions, small exact networks, and a sweep's store."""

from theodolite.report.explorer.app import create_app
from theodolite.report.explorer.export import export_page
from theodolite.report.explorer.server import serve

__all__ = ["create_app", "export_page", "serve"]
