"""Every error that vultus raises on purpose. A message says what happened, to which file or value, and what to do next."""


class VultusError(Exception):
    """The common ancestor: catch this one to treat any expected failure."""


class FaceNotFound(VultusError):
    """No face was found in an image."""


class AssetMissing(VultusError):
    """A model file, weights file or optional package is not installed."""


class WeightsMismatch(VultusError):
    """Weights or a model file do not fit the code or the model they are used with."""


class BadFile(VultusError):
    """A file cannot be read or written, or does not hold what its name promises."""


class BadInput(VultusError):
    """A value given to a function or on the command line is outside what it accepts."""
