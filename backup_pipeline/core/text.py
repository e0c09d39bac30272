"""Text that people see or a server reads: secrets hidden, what could act made visible, names and strings as SQL."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from backup_pipeline.core.restore import Name


_JOINERS = "\u200c\u200d"
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    r"""`text` in one line; controls, line breaks, and marks that turn the direction or hide show as `\x1b`, `\u202e`.

    Letters of every script stay as they are, with the joiners that Bangla and others write with, and so does a
    backslash: what is shown is for the eye.
    """
    return text if text.isprintable() else "".join(_shown(letter) if acts(letter) else letter for letter in text)


def acts(letter: str) -> bool:
    """Whether a letter could do more than stand there: controls, line breaks, marks of direction, half characters."""
    return not letter.isprintable() and letter not in _JOINERS and unicodedata.category(letter) in _ACTING


def visible_lines(text: str) -> str:
    """As `visible`, but line breaks stay: for messages of several lines, which are our own."""
    return "\n".join(map(visible, text.split("\n")))


def first_sentence(text: str) -> str:
    """The first sentence of `text`, which ends at a full stop before a space, or with the line."""
    line = text.strip().partition("\n")[0]
    return re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]


def _shown(letter: str) -> str:
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# A dollar could end a string of dollars, an exclamation mark means the history to an interactive shell.
_ESCAPED_TOO = "$!"
_ESCAPE = re.compile(r"\\(?:\\|\+(?P<long>[0-9A-Fa-f]{6})|(?P<short>[0-9A-Fa-f]{4}))")


def name_sql(name: str) -> str:
    """`name` as a quoted identifier."""
    return _quoted(name, '"')


def full_name_sql(name: Name) -> str:
    """Schema and name, each quoted."""
    return ".".join(map(name_sql, name))


def text_sql(text: str) -> str:
    """`text` as a string."""
    return _quoted(text, "'")


def without_escapes(text: str) -> str:
    """The name or text that stands between the quotes of a `U&"…"`, quotes no longer doubled."""
    return _ESCAPE.sub(lambda match: chr(int(match["long"] or match["short"] or "5c", 16)), text)


def _quoted(text: str, quote: str) -> str:
    doubled = text.replace(quote, 2 * quote)
    if text.isprintable() and not any(letter in text for letter in _ESCAPED_TOO):
        return f"{quote}{doubled}{quote}"
    return f"U&{quote}{''.join(map(_escaped, doubled))}{quote}"


def _escaped(letter: str) -> str:
    if letter == "\\":
        return r"\\"
    if letter.isprintable() and letter not in _ESCAPED_TOO:
        return letter
    return f"\\{ord(letter):04X}" if ord(letter) < 0x10000 else f"\\+{ord(letter):06X}"


HIDDEN = "***"
MASK = "[ENCRYPTED]"

# A password may hold any character, also one that ought to be escaped: hide up to the last @, rather too much.
_URL_PASSWORD = re.compile(
    r"(?P<head>[a-z][a-z0-9+.-]{0,30}://[^\s/:]*):(?:[^\s\"'<>]{1,1000}|\S{1,1000})@", re.IGNORECASE
)
_WHOLE_URL_PASSWORD = re.compile(
    r"\A(?P<head>[a-z][a-z0-9+.-]{0,30}://[^/:]*):(?P<password>.*)@", re.IGNORECASE | re.DOTALL
)
_KEYWORDS = (
    "password|passwd|passphrase|passfile|pwd|secret|token|signature"
    "|(?:api|access|private|secret|account)[_-]?key(?:[_-]?id)?"
)
_KEYWORD_SECRET = re.compile(
    # As libpq, a query, JSON, and PostgreSQL's `Key (password)=(…)` write it.
    rf"(?P<key>(?:{_KEYWORDS})[\\\"')\]]{{0,2}}[ \t]*[=:][ \t]*\(?|\bBearer +)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*(?:\"|\Z)|'(?:[^'\\]|\\.)*(?:'|\Z)|\S+)",
    re.IGNORECASE | re.DOTALL,
)
# What our own advice says instead of a value: `--fill users.token=VALUE`, `--fill users.token='{random}'`.
_PLACEHOLDER = re.compile(r"""["']?(?:VALUE|…?\{(?:random|n)\})["']?[.,;:)]*""")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SECRET_WORDS = {
    *("password", "passwd", "passwort", "pwd", "pw", "passphrase", "passcode", "secret", "token", "hash", "salt"),
    *("credential", "otp", "jwt", "cvv"),
}
_SECRET_KEYS = {"api", "private", "secret", "access", "encryption", "signing", "ssh"}
_SECRET_PARTS = ("password", "passwd", "passphrase", "apikey", "secretkey", "privatekey", "accesskey")
_SECRET_ENDINGS = ("secret", "token", "hash")


def redact(text: str, *known: str) -> str:
    """`text` with every password in a URL, every `password=…`, and each `known` secret replaced by `***`.

    A known secret is found however it is %-encoded.
    """
    for secret in sorted({secret for secret in known if secret}, key=len, reverse=True):
        text = re.sub("".join(map(_encoded_or_not, secret)), HIDDEN, text)
    text = _URL_PASSWORD.sub(rf"\g<head>:{HIDDEN}@", text)
    return _KEYWORD_SECRET.sub(_hide_value, text)


_SERVICE_ALONE = re.compile(r"^\w+:///?\?(?:[^#]*&)?(?P<named>service=[\w.-]+)(?:[&#]|$)")
"""A URL that names no host and no database, but a service."""


def redact_url(url: str) -> str:
    """`url` without its password and without its query, fit for logs: `postgresql://app:***@db:5432/isp`.

    Of the query the name of a service stays, which is all that `postgresql:///?service=shop` says of the place.
    Never raises: a malformed URL is shown as far as it can not hold a secret.
    """
    shown = _WHOLE_URL_PASSWORD.sub(rf"\g<head>:{HIDDEN}@", url)
    plain = re.split(r"[?#]", shown, maxsplit=1)[0]
    service = _SERVICE_ALONE.search(shown)
    return redact(f"{plain}?{service['named']}" if service else plain)


def url_secrets(url: str) -> tuple[str, ...]:
    """The passwords inside `url`, before its host or in its query, decoded; never raises, also for a malformed one."""
    written = _written_password(url)
    query = parse_qsl(url.partition("?")[2])
    named = [value for name, value in query if name.lower() in {"password", "sslpassword"}]
    return tuple(secret for secret in (unquote(written), *named) if secret)


def is_unambiguous(url: str) -> bool:
    """Whether everybody sees the same password in `url`: one with a bare `/`, `?`, `#` or `@` is cut in two by some."""
    return not set("/?#@") & set(_written_password(url))


def _written_password(url: str) -> str:
    match = _WHOLE_URL_PASSWORD.match(url)
    return match["password"] if match else ""


def _encoded_or_not(char: str) -> str:
    """A pattern of the character %-encoded, and as it is: the longer first, so that no tail is left."""
    encoded = "".join(f"%{byte:02x}" for byte in char.encode(errors="surrogatepass"))
    return f"(?:(?i:{encoded})|{re.escape(char)}{'|[+]' if char == ' ' else ''})"


def looks_secret(column: str) -> bool:
    """Whether a column's name suggests that it holds a secret (password, secret, token, api key, hash).

    Rather once too often: `token_no` and `tokens_used` count too, and the catalog's `allow` answers once and for all.
    """
    words = [word.lower() for word in _WORD.findall(column)]
    joined = "".join(words)
    return (
        any(singular in _SECRET_WORDS for word in words for singular in _singulars(word))
        or any(word in _SECRET_KEYS and "key" in _singulars(after) for word, after in pairwise(words))
        or any(part in joined for part in _SECRET_PARTS)
        or any(word.endswith(_SECRET_ENDINGS) for word in words)
        or words[-1:] == ["pass"]
    )


def _hide_value(match: re.Match[str]) -> str:
    if _PLACEHOLDER.fullmatch(match["value"]):
        return match[0]
    mark = match["value"][0] if match["value"][0] in "\"'" else ""
    return f"{match['key']}{mark}{HIDDEN}{mark}"


def _singulars(word: str) -> tuple[str, str, str]:
    return word, word.removesuffix("s"), word.removesuffix("es")
