"""Why a model's files are refused."""

from enum import StrEnum

from app.errors import WeightsRefused


class Reason(StrEnum):
    """The rule that refuses; stable, so that events and metrics can be counted by it."""

    UNSIGNED = "unsigned"
    """There is no signature."""
    MALFORMED = "malformed"
    """The signature's bundle or its statement is not what it must be."""
    UNKNOWN_KEY = "unknown_key"
    """It was signed with a key that is not in the ring."""
    EXPIRED_KEY = "expired_key"
    """The key's time is over."""
    REVOKED_KEY = "revoked_key"
    """The key has been withdrawn."""
    KEY_NOT_FOR_MODEL = "key_not_for_model"
    """The key may sign other models, but not this one."""
    OTHER_MODEL = "other_model"
    """The statement is about a model of another name."""
    BAD_SIGNATURE = "bad_signature"
    """The key did not sign this statement."""
    OLDER_VERSION = "older_version"
    """A later version has been loaded or is demanded."""
    EXTRA_FILE = "extra_file"
    """There is a file that was not signed."""
    MISSING_FILE = "missing_file"
    """A file that was signed is not there."""
    CHANGED_FILE = "changed_file"
    """A file's bytes are not those that were signed."""
    LINK = "link"
    """There is a symbolic link, a device, a pipe or a socket where a file must be."""
    BAD_PATH = "bad_path"
    """A name that leads out of the model's folder, or that not every system takes."""
    FORBIDDEN_TYPE = "forbidden_type"
    """A pickle, an archive or code, whatever it is called."""
    BAD_HEADER = "bad_header"
    """A safetensors header that is too large or not well formed."""


def refuse(reason: Reason, message: str) -> WeightsRefused:
    """An error to be raised.

    Args:
        reason: The rule.
        message: What was found, in which file, and the way out.
    """
    return WeightsRefused(message, reason.value)
