"""One self-contained HTML page of a run: pictures, error maps, loss curves, tables."""

from invjax.report.page import write

__all__ = ["write"]
