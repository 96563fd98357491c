"""Runs a config: python -m experiments.run --config CONFIG.py --workdir DIR [--config.field=value …].

The same as `invjax run CONFIG.py --workdir DIR …`, in the form that users of config_flags expect.
"""

import argparse
import sys

from invjax import cli

if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--config", required=True, help="a Python file with get_config()")
    options, rest = parser.parse_known_args()
    sys.exit(cli.main(["run", options.config, *rest]))
