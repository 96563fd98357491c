"""Times gradient steps: python -m experiments.bench …, the same as `invjax bench …`."""

import sys

from invjax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["bench", *sys.argv[1:]]))
