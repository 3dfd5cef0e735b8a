"""The one exception that reaches a user as a sentence instead of a traceback."""


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one clear sentence: it names the field or file, the value found, and the remedy.
    The command line prints it and exits with 2.
    """
