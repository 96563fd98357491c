"""`python -m invjax` is `invjax`."""

import sys

from invjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
