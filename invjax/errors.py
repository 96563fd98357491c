"""One exception for every mistake a user can mend."""


class UserError(ValueError):
    """Wrong input, told in one line: what is wrong, where, and what to do.

    The command line prints the message and exits with code 2; in Python it is an ordinary `ValueError`.
    """
