"""What went wrong with S3, told apart by the server's own error code, whichever client met it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import botocore.exceptions as boto
import obstore.exceptions as obstore

from backup_pipeline.core.errors import BackupError, NotFoundError, StoreDeniedError, StoreError, StoreUnavailableError
from backup_pipeline.core.secrets import redact

CREDENTIALS = "Check the access key id and the secret access key, or the AWS profile, that this endpoint is used with."
EXPIRED = "Renew the temporary credentials, for instance with `aws sso login`."
POLICY = "Allow this user to get, put, list and delete objects of the bucket, and to abort multipart uploads."
WAIT = "Check that the endpoint is right and reachable; when it is, try again in a while."
CLOCK = "Set this machine's clock: S3 accepts no request that is more than 15 minutes off."
REGION = "Set the region of the bucket."
TRUST = "Make this machine trust the authority of the endpoint's certificate, or correct the endpoint."
WIRE = "Run it again: bytes changed on their way to S3, and it refused them. If it repeats, look at the network."
ROOM = "Free space or raise the quota of the bucket, or prune old backups."

ADVICE = {
    "AccessDenied": POLICY,
    "ExpiredToken": EXPIRED,
    "AllAccessDisabled": POLICY,
    "AuthorizationHeaderMalformed": REGION,
    "PermanentRedirect": REGION,
    "IllegalLocationConstraintException": REGION,
    "RequestTimeTooSkewed": CLOCK,
    "RequestExpired": CLOCK,
    "EntityTooLarge": "Make the backup smaller: fewer tables in a catalog, or a business each.",
    "XAmzContentSHA256Mismatch": WIRE,
    "BadDigest": WIRE,
    "QuotaExceeded": ROOM,
    "InsufficientCapacity": ROOM,
    "XMinioStorageFull": ROOM,
    "InvalidCertificate": TRUST,
    "SSLError": TRUST,
    "NotImplemented": "Use a store that implements the S3 API: Amazon S3, Ceph, OpenStack Swift, MinIO and others.",
}
DENIED = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
"""A request that came with good credentials, and is not allowed; an answer without a body has only its status."""

TRANSIENT_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "OperationAborted",
}
TRANSIENT_STATUSES = {408, 429, 500, 502, 503, 504}

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")


@dataclass(frozen=True)
class Reply:
    """What the server said: HTTP status, error code, message. Status 0: it said nothing, `message` is the client's."""

    status: int
    code: str
    message: str


def reply_of(error: BaseException) -> Reply | None:
    """What the server said, when `error` comes from boto3 or obstore; None for any other error."""
    if isinstance(error, boto.ClientError):
        about = error.response.get("Error", {})
        return Reply(status_of(error), str(about.get("Code", "")), str(about.get("Message", "")))
    if isinstance(error, boto.BotoCoreError):
        return Reply(0, type(error).__name__, str(error))
    if isinstance(error, (obstore.BaseError, FileNotFoundError)):
        return _reply_in(str(error))
    return None


def status_of(error: boto.ClientError) -> int:
    """The HTTP status the server answered with."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reply_in(text: str) -> Reply:
    """The reply quoted in an obstore error; the rest of its text has request signatures, and stays behind."""
    status, code, message = (pattern.search(text) for pattern in (_STATUS, _CODE, _MESSAGE))
    if status:
        return Reply(int(status[1]), code[1] if code else status[1], message[1] if message else "")
    if "InvalidCertificate" in text:
        return Reply(0, "InvalidCertificate", "the certificate of the server is not trusted")
    causes = re.findall(r'"([^"\n]*(?:error|refused|timed out|certificate)[^"\n]*)"|message: "([^"\n]*)"', text)
    detail = "; ".join(dict.fromkeys(cause for pair in causes for cause in pair if cause))
    return Reply(0, "", ": ".join(part for part in (text.partition("\n")[0].rpartition(" - ")[2], detail) if part))


def explain(reply: Reply, *, action: str, endpoint: str, bucket: str) -> BackupError:
    """The error that `action` (`put isp/manifest.json`) on `bucket` ends with. Never has a secret."""
    said = redact(" ".join(part for part in (reply.code, reply.message) if part))
    what = f"S3 said no to: {action}, bucket {bucket} at {endpoint}: {said}"
    if reply.code == "NoSuchBucket":
        what = f"There is no bucket {bucket} at {endpoint} ({action})"
        return StoreError(what, do=f"Create the bucket {bucket}, or name another one in the store's URL.")
    if reply.code == "NoSuchKey":
        return NotFoundError(
            f"There is no such object: {action}, bucket {bucket} at {endpoint}", do="List what is there."
        )
    if _is_transient(reply):
        return StoreUnavailableError(f"S3 does not answer: {action}, bucket {bucket} at {endpoint}: {said}", do=WAIT)
    kind = StoreDeniedError if reply.code in DENIED else StoreError
    return kind(what, do=ADVICE.get(reply.code, _advice(reply)))


def _advice(reply: Reply) -> str:
    if reply.status in {401, 403} or "redential" in reply.code:
        return CREDENTIALS
    if reply.status in {301, 307}:
        return REGION
    if reply.status in {404, 405}:
        return "Check that the endpoint is that of an S3 API."
    if reply.status == 507:
        return ROOM
    return "Correct what the message names, then try again."


def _is_transient(reply: Reply) -> bool:
    if reply.status:
        return reply.status in TRANSIENT_STATUSES or reply.code in TRANSIENT_CODES
    silent = ("Connect", "Timeout", "ConnectionClosed", "HTTPClient", "ResponseStreaming", "IncompleteRead")
    return not reply.code or any(word in reply.code for word in silent)
