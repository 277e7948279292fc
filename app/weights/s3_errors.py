"""What boto3 raises, as errors that say what to do; what it says itself is not repeated."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from app.config.weights import S3Config
from app.errors import TidegateError, WeightsUnavailable
from app.weights.download import changed
from app.weights.manifest import SIGNATURE_FILE
from app.weights.refusal import Reason, refuse

_CREDENTIALS = (
    "boto3 finds no credentials on this node: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "name a profile in AWS_PROFILE, or give the node a role"
)
_DENIED = (
    "this node's credentials may not read it: allow s3:GetObject on the objects and s3:ListBucket "
    "on the bucket, and see that weights.s3.region is the bucket's"
)
_DENIED_WRITING = (
    "these credentials may not write it: allow s3:PutObject, s3:DeleteObject and "
    "s3:AbortMultipartUpload on the objects and s3:ListBucket on the bucket"
)


class ServiceAway(WeightsUnavailable):
    """Nobody answers, or nobody who knows: it says nothing about the model or who may read it."""


@contextmanager
def named(what: str, name: str | None = None, *, writing: bool = False) -> Iterator[None]:
    """Turns boto3's errors into ours.

    Args:
        what: What is being reached, for the message.
        name: The file of a model that is read, if it is one.
        writing: Whether it is being written instead.

    Raises:
        WeightsRefused: The file is not there, or was changed while it was read.
        ServiceAway: The service does not answer, or is not well.
        WeightsUnavailable: Anything else.
    """
    from botocore import exceptions as boto

    try:
        yield
    except TidegateError:
        raise
    except boto.ClientError as error:
        raise _answered(what, name, error.response, writing) from error
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
    ) as error:
        raise WeightsUnavailable(f"{what} cannot be reached: {_CREDENTIALS}.") from error
    except (boto.BotoCoreError, boto.HTTPClientError, OSError, ValueError) as error:
        raise ServiceAway(
            f"{what} cannot be reached ({type(error).__name__}): see that this node reaches the "
            "service, and that weights.s3.endpoint and weights.s3.region are right."
        ) from error


def service(config: S3Config) -> str:
    """How a service is called in messages: by its host, without what else a URL may hold.

    Args:
        config: Which service it is.
    """
    if config.endpoint is None:
        return "AWS S3"
    return f"the S3 service at {urlsplit(config.endpoint).hostname or 'weights.s3.endpoint'}"


def without_ranges(what: str, wanted: int, got: int) -> WeightsUnavailable:
    """The service sent something else than the range it was asked for.

    Args:
        what: What is being read.
        wanted: Bytes that were asked for.
        got: Bytes that it began to send.
    """
    return WeightsUnavailable(
        f"{what} cannot be read in parts: the service was asked for {wanted:,} bytes and sent "
        f"{got:,}. Use one that honours the Range header, and no proxy that drops it."
    )


def _answered(
    what: str, name: str | None, response: dict[str, dict[str, object]], writing: bool
) -> TidegateError:
    code = str(response.get("Error", {}).get("Code", "unknown"))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "NoSuchBucket":
        why = "there is no such bucket: correct the model's source, or weights.s3.endpoint"
    elif status == 404 and name == SIGNATURE_FILE:
        return refuse(
            Reason.UNSIGNED,
            f"There is no {what}: sign the model (`tidegate model sign`) and push it (`tidegate "
            "model push`), or correct the model's source.",
        )
    elif status == 404 and name is not None:
        return refuse(Reason.MISSING_FILE, f"There is no {what}: push the model again.")
    elif status in {412, 416} and name is not None:
        return changed(name)
    elif status in {401, 403}:
        why = _DENIED_WRITING if writing else _DENIED
    else:
        why = "try again, and see the service's status if it stays so"
    kind = (
        ServiceAway
        if status == 429 or (isinstance(status, int) and status >= 500)
        else WeightsUnavailable
    )
    done = "written" if writing else "read"
    return kind(f"{what} cannot be {done} (HTTP {status}, {code}): {why}.")
