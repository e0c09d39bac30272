"""What must never be shown: secrets in URLs and in free text, and columns that look like secrets."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

HIDDEN = "***"
MASK = "[ENCRYPTED]"

_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s/:@]*):(?P<secret>[^\s/]+)@", re.IGNORECASE)
_KEYWORD_SECRET = re.compile(
    r"(?P<key>\b(?:password|passwd|passfile|sslpassword|secret|token|aws_secret_access_key|access_key_id)\s*[=:]\s*)"
    r"(?P<quote>['\"]?)(?P<secret>[^\s'\"&]+)",
    re.IGNORECASE,
)
_SECRET_WORDS = {"password", "passwd", "passwort", "pwd", "passphrase", "secret", "token", "hash", "salt", "credential"}
_SECRET_PAIRS = {("api", "key"), ("private", "key"), ("secret", "key"), ("access", "key"), ("encryption", "key")}
_SECRET_SUFFIXES = ("password", "passwd", "secret", "token", "apikey", "passphrase")


def redact(text: str, *known: str) -> str:
    """`text` with every password in a URL, every `password=…`, and each `known` secret replaced by `***`."""
    for secret in sorted({s for value in known if value for s in (value, quote(value, safe=""))}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _URL_PASSWORD.sub(rf"\g<head>:{HIDDEN}@", text)
    return _KEYWORD_SECRET.sub(rf"\g<key>\g<quote>{HIDDEN}", text)


def redact_url(url: str) -> str:
    """`url` without its password and without its query, fit for logs: `postgresql://app:***@db:5432/isp`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    shown = f"{user}:{HIDDEN}@{host}" if parts.password else (f"{user}@{host}" if user else host)
    return urlunsplit((parts.scheme, shown, parts.path, "", ""))


def url_password(url: str) -> str:
    """The password inside `url`, decoded; empty when there is none."""
    return unquote(urlsplit(url).password or "")


def looks_secret(column: str) -> bool:
    """Whether a column's name suggests that it holds a secret (password, secret, token, api key, hash)."""
    words = [w.lower() for w in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", column)]
    pairs = set(zip(words, words[1:], strict=False))
    return (
        any(word.rstrip("s") in _SECRET_WORDS or word in _SECRET_WORDS for word in words)
        or bool(pairs & _SECRET_PAIRS)
        or "".join(words).endswith(_SECRET_SUFFIXES)
    )
