"""Entry points of experiments; the logic is in the package."""
