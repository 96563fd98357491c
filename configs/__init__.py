"""Configs: Python files with a `get_config()`; installed as `invjax.configs`."""
