"""The one exception that stands for a mistake in the input rather than in the program."""


class UserError(Exception):
    """Bad input: its message is one clear sentence that names the file or key and the mend.

    The command line prints the message without a traceback and exits with code 2.
    """
