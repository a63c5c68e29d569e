"""What a person did that cannot be carried out, told in one line."""


class UserError(Exception):
    """A mistake in what was asked for: the message names the file or option and says what to do.

    The command line prints it on one line of standard error and exits with status 2.
    """
