"""The errors that are meant for a reader, not for a programmer: one line that says what was expected.

The command line prints such an error on one line and exits with code 2; anything else that escapes is a defect of ours.
All of them are `ValueError`, so that code which knows nothing of this module can still catch them.
"""


class PspnbError(ValueError):
    """Something the user gave cannot be used. The message is one line and names the file and what was expected."""


class LoadError(PspnbError):
    """A checkpoint cannot be used: damaged, of another kind, of another architecture, or unsafe to open."""


class ImageError(PspnbError):
    """An image cannot be read or written."""


class AlignError(PspnbError):
    """No face was found, or the landmarks do not describe one."""


class DownloadError(PspnbError):
    """A file could not be fetched, or what arrived is not the file that was expected."""


class VideoError(PspnbError):
    """A video cannot be read or written."""
