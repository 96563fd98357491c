"""Runs: from a config to a run directory, begun anywhere, stopped at any moment, gone on with by the same command.

It uses everything that inverts, and knows nothing of what is made of its results: it must not import invjax.analysis.
"""
