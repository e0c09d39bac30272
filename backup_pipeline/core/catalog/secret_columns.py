"""The eye for secrets of `catalog init`: which columns of an unknown database hold something that nobody should see.

A name is judged as words, with those of its table and with its type: `api_keys.key` is a secret and `settings.key` is
none, a boolean never is one. What is found stands in the drafted catalog beside the column, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from itertools import pairwise

from backup_pipeline.core.relations import Column, Relation


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NO_SECRET_TYPES = (
    *("bool", "int", "smallint", "bigint", "serial", "bigserial", "numeric", "decimal", "real", "float", "double"),
    *("money", "date", "time", "interval", "inet", "cidr", "macaddr", "point", "polygon", "geometry", "geography"),
    *("vector", "tsvector", "oid"),
)
_SPELLINGS = {
    **dict.fromkeys(("passwd", "passwort", "pwd", "pw", "passphrase", "passcode", "passhash", "kennwort"), "password"),
    **dict.fromkeys(("totp", "hotp", "otpcode"), "otp"),
    **dict.fromkeys(("cred", "creds", "credential", "credentials"), "credential"),
    "apikey": "api key", "secretkey": "secret key", "pwhash": "password hash", "passwordhash": "password hash",
    "privatekey": "private key", "privkey": "private key", "accesskey": "access key", "authtoken": "auth token",
    "accesstoken": "access token", "refreshtoken": "refresh token", "clientsecret": "client secret",
    "creditcard": "credit card", "hmackey": "hmac key", "sessionid": "session id", "cardnumber": "card number",
    "webhookurl": "webhook url", "keydata": "key data", "cookies": "cookie",
    "conninfo": "connection string", "authcode": "auth code",
}  # fmt: skip
_SECRETS = {
    "password": "password", "bcrypt": "password", "credential": "credential", "secret": "secret", "salt": "salt",
    "token": "token", "jwt": "token", "bearer": "token", "csrf": "token", "otp": "one-time code", "verifier": "code",
    "psk": "key", "hmac": "key", "keytab": "key", "htpasswd": "password", "dsn": "connection string",
    "cvv": "card number", "cvc": "card number", "iban": "bank account", "ssn": "identity number",
    "ciphertext": "encrypted value", "encrypted": "encrypted value", "crypted": "encrypted value",
}  # fmt: skip
"""Words that make a secret of a column, wherever they stand."""
_ABOUT = _listed(
    "at on date time count id type kind status state name label length size min max policy expires expiry "
    "expiration expired ttl lifetime validity version algorithm algo method scope required enabled disabled "
    "changed strength score limit attempt usage used prefix suffix issuer format provider mode rotation template "
    "description comment title url uri endpoint symbol address contract decimal supply budget price strategy "
    "reason path filename ip by owner user option setting permission component index position order level number "
    "no santa model metadata note location slug public subject audience sub preference domain category content "
    "device sent platform delivery request rule question language image color sequence menu ingredient recipe "
    "word event log class source target region manager store last4 four param parameter theme font usd amount "
    "grant requirement field group"
)
"""Last words that say that a column is about a secret, or has nothing to do with one."""
_KEYS = _listed(
    "api private secret access encryption signing hmac master auth authentication ssl tls stripe webhook recovery "
    "client consumer app application service license licence session shared symmetric root decryption wrapped "
    "wrapping server smtp deploy hashed encrypted wireguard preshared security gateway merchant activation "
    "signature rsa aes pgp gpg dkim jwk registration vapid feed rss aws sendgrid mailgun twilio paypal recaptcha "
    "integration account data"
)
"""What a key that opens something is called by; other keys find or sort."""
_OPEN_KEYS = _listed("public pub publishable foreign primary display cache idempotency object site")
_BEHIND_KEY = _listed("hash pem digest encrypted iv material base64 value ciphertext data password")
_CODES = _listed(
    "backup recovery authorization verification confirmation activation auth access security sms otp mfa 2fa "
    "factor reset login device unlock authentication scratch passwordless"
)
_CODE_TABLES = _listed("verification verifiable otp invitation invite mfa recovery backup activation upgrade")
_OTHER_TOKENS = _listed("page next cursor continuation sync design nlp prompt completion stop vocabulary")
_OTHER_PASSES = _listed("boarding season ticket travel bus ski gate day visitor parking mountain")
_OTHER_PINS = _listed("map board post message gpio connector location chip circuit marker address route")
_DATABASES = _listed("database db redis amqp broker mongo connection rabbitmq postgres mysql smtp ldap")
_LOGINS = _listed("invite invitation user password credential token session login account member")


@dataclass(frozen=True)
class _Name:
    """A column's name and its table's, in words in small letters and in the singular; and the column's type."""

    words: tuple[str, ...]
    table: tuple[str, ...]
    type: str

    @property
    def last(self) -> str:
        """The last word that is no number."""
        return next((word for word in reversed(self.words) if not word.isdigit()), "")

    @property
    def about(self) -> bool:
        """Whether the last word says that it is about a secret only."""
        return self.last in _ABOUT

    @property
    def is_uuid(self) -> bool:
        """Whether it is a uuid: the id of a row, or a random secret."""
        return self.type.startswith("uuid")

    def has(self, words: Set[str]) -> bool:
        """Whether one of `words` is in it."""
        return not words.isdisjoint(self.words)

    def in_table(self, words: Set[str]) -> bool:
        """Whether one of `words` is in the table's name."""
        return not words.isdisjoint(self.table)

    def pair(self, first: Set[str], second: Set[str]) -> bool:
        """Whether a word of `first` stands right before one of `second`."""
        return any(a in first and b in second for a, b in pairwise(self.words))


def secret_of(relation: Relation, column: Column) -> str | None:
    """What kind of secret a column of a database looks like; None when it looks like none."""
    if not can_hold_secret(column):
        return None
    return secret_kind(relation.name, column.name, column.base_type if column.builtin else column.pg_type)


def can_hold_secret(column: Column) -> bool:
    """Whether a secret can be kept in the column: not in the labels of an enum, in numbers, times, booleans."""
    if column.output == "enum_out":
        return False
    return has_room(column.base_type if column.builtin else column.pg_type)


def secret_kind(table: str, column: str, pg_type: str = "") -> str | None:
    """What kind of secret the column looks like (`password`, `token`, `key`, …); None when it looks like none.

    `pg_type` as PostgreSQL prints it; an empty one can hold anything.
    """
    words = _words(column)
    if not words or not has_room(pg_type):
        return None
    name = _Name(words, _words(table), pg_type.lower())
    return next((kind for rule in _RULES if (kind := rule(name))), None)


def has_room(pg_type: str) -> bool:
    """Whether a secret can be kept in the type: in texts, bytes, documents; not in numbers, times, booleans."""
    return not pg_type.lower().startswith(_NO_SECRET_TYPES)


def _words(name: str) -> tuple[str, ...]:
    lowered = (word.lower() for word in _WORD.findall(name))
    return tuple(part for word in lowered for part in _spelled(word).split())


def _spelled(word: str) -> str:
    singular = _singular(word)
    return _SPELLINGS.get(word) or _SPELLINGS.get(singular) or singular


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "shes", "ches", "hashes")):
        return word[:-2]
    return (
        word[:-1]
        if word.endswith("s") and not word.endswith(("ss", "us", "is", "as", "ws", "dns", "sms", "aes"))
        else word
    )


def _word(name: _Name) -> str | None:
    kind = next((_SECRETS[word] for word in name.words if word in _SECRETS), None)
    if kind is None or name.about or name.pair({"secret"}, {"santa"}) or name.pair({"public"}, {"key"}):
        return None
    if kind == "token" and name.has(_OTHER_TOKENS):
        return None
    return None if kind == "salt" and name.in_table({"food", "nutrition", "recipe", "ingredient"}) else kind


def _hint(name: _Name) -> str | None:
    return "password" if name.pair({"password"}, {"hint"}) else None


def _pass(name: _Name) -> str | None:
    if "pass" not in name.words or name.has(_OTHER_PASSES) or name.in_table(_OTHER_PASSES):
        return None
    written = name.pair({"pass"}, {"crypt", "hash", "salt", "word", "phrase", "enc", "encrypted", "code"})
    return "password" if written or name.last == "pass" else None


def _key(name: _Name) -> str | None:
    if name.has(_OPEN_KEYS):
        return None
    if name.pair({"api", "access"}, {"key"}) and name.last == "id" and not name.is_uuid:
        return "key"
    index = next((index for index, word in reversed(list(enumerate(name.words))) if word == "key"), None)
    if index is None or not set(name.words[index + 1 :]) <= _BEHIND_KEY:
        return None
    if name.words[index - 1] in _KEYS and index > 0:
        return "key"
    holders = {"api", "access", "credential", "license", "licence", "certificate", "encryption", "signing", "jwk"}
    return "key" if index == 0 and name.in_table(holders) else None


def _of_key_table(name: _Name) -> str | None:
    """`api_keys.value`, `secrets.data`, `ci_variables.value`."""
    kept = {"value", "data", "payload", "blob", "content", "hash", "digest"}
    if name.last not in kept or len(name.words) > 2:
        return None
    if {"api", "key"} <= set(name.table) or {"access", "key"} <= set(name.table):
        return "key"
    if name.in_table({"secret", "credential", "vault"}):
        return "secret"
    places = {
        "ci",
        "env",
        "environment",
        "pipeline",
        "job",
        "build",
        "deployment",
        "secret",
        "config",
        "group",
        "project",
    }
    return "secret" if name.last == "value" and name.in_table({"variable"}) and name.in_table(places) else None


def _code(name: _Name) -> str | None:
    if name.last != "code":
        return None
    if len(name.words) == 1:
        return "code" if name.in_table(_CODE_TABLES) else None
    return "code" if name.has(_CODES) and not name.has({"error", "country", "status"}) else None


def _pin(name: _Name) -> str | None:
    if not name.has({"pin", "puk"}) or name.has(_OTHER_PINS) or name.in_table(_OTHER_PINS):
        return None
    behind = name.pair({"pin"}, {"hash", "digest", "salt", "encrypted"})
    return "code" if behind or name.last in {"pin", "puk"} else None


def _session(name: _Name) -> str | None:
    if name.is_uuid or name.has({"provider"}):
        return None
    if name.last == "sid" or (name.pair({"session"}, {"id", "key", "data", "hash"}) and name.last != "user"):
        return "session"
    own = name.table[-1:] == ("session",) and len(name.words) == 1
    return "session" if own and name.last in {"id", "key", "data", "session", "payload"} else None


def _cookie(name: _Name) -> str | None:
    other = {"consent", "policy", "preference", "banner", "accepted", "notice"}
    return "cookie" if name.has({"cookie"}) and not name.about and not name.has(other) else None


def _connection(name: _Name) -> str | None:
    reaching = {"url", "uri", "string", "str", "endpoint"}
    if name.pair(_DATABASES, {"url", "uri", "string", "str"}):
        return "connection string"
    hooks = {"webhook", "hook"}
    if name.last in reaching and name.has(hooks):
        return "webhook"
    chats = {"slack", "discord", "teams", "mattermost", "chat"}
    if name.last in hooks and name.has(chats):
        return "webhook"
    of_hooks = name.in_table(hooks) and name.table[-1] in hooks | {"endpoint", "subscription"}
    return "webhook" if of_hooks and name.last in {"url", "uri", "endpoint"} else None


def _card(name: _Name) -> str | None:
    number = name.pair({"card", "cc", "pan"}, {"number", "no", "num", "pan"}) and not name.has({"rate", "report", "id"})
    whole = name.words in {("credit", "card"), ("pan",), ("cc",)}
    paid = name.in_table({"card", "payment", "billing", "customer", "checkout"}) or name.has({"credit"})
    return "card number" if number or (whole and paid) else None


def _bank(name: _Name) -> str | None:
    banks = {"bank", "payout", "beneficiary", "payee"}
    number = name.pair({"account", "acct"}, {"number", "no", "num"})
    return "bank account" if number and (name.has(banks) or name.in_table(banks)) else None


def _identity(name: _Name) -> str | None:
    if name.last not in {"number", "no", "num"}:
        return None
    secured = name.pair({"social", "national"}, {"security", "insurance"})
    return "identity number" if secured else None


def _hash(name: _Name) -> str | None:
    return "hash" if name.words in {("hash",), ("digest",)} and name.in_table(_LOGINS) else None


def _auth(name: _Name) -> str | None:
    if name.words in {("auth",), ("authorization",), ("basic", "auth")}:
        return "credential"
    if name.pair({"auth", "authorization"}, {"header", "data", "string", "blob"}):
        return "credential"
    return "credential" if name.pair({"security", "secret"}, {"answer"}) else None


def _material(name: _Name) -> str | None:
    if name.last in {"keystore", "keyring", "pfx", "p12", "pkcs12"} or name.pair(
        {"private"}, {"pem", "jwk", "certificate"}
    ):
        return "key"
    phrase = name.pair({"seed", "mnemonic", "recovery", "wallet"}, {"phrase", "seed", "mnemonic"})
    return "key" if phrase or name.pair({"magic"}, {"link"}) else None


_Rule = Callable[[_Name], str | None]
_RULES: tuple[_Rule, ...] = (
    _hint, _word, _pass, _key, _of_key_table, _code, _pin, _session, _cookie, _connection, _card, _bank, _identity,
    _hash, _auth, _material,
)  # fmt: skip
