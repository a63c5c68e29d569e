"""A user's mistake, in one line."""


class UserError(Exception):
    """A mistake in what was asked for: the message names the file or parameter and says what to do.

    A parameter's name stands in backticks. The command line turns it into its option, prints the
    message on one line of standard error and exits with status 2.
    """
