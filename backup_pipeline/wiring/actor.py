"""Who acts: the operating system's user, whom the kernel knows. What anybody can write is nobody's name."""

from __future__ import annotations

import os


def os_user() -> str:
    """The name of the user that this process runs as; `uid 1000` where that user has no name.

    Not what USER, LOGNAME or an option say: whoever approves a restore, holds a backup or takes one out is this one.
    """
    import pwd  # not on every system; the others have no such names

    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
