"""One self-contained HTML page of a run: pictures, error maps, loss curves, tables."""

from invjax.analysis.page.document import write

__all__ = ["write"]
