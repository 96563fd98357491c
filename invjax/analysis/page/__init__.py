"""One self-contained HTML page of one or several runs: pictures, error maps, loss curves, tables.

It starts from run directories and the frame; nothing here knows of figures and tables for a paper.
"""

from invjax.analysis.page.document import write

__all__ = ["write"]
