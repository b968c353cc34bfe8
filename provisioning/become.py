"""Root acts as the owner of the state folder wherever a key or data is touched (decision 0010).

What is made then belongs to the service from its first byte, and root sees what the service sees: what root
may open, the service may not. The effective user and groups change, nothing else: `systemd-creds`, which
answers root only, can still be asked.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

# What the unit, and its drop-in for the key, give the service.
SERVICE_GROUPS = ("i2c", "dialout", "tss", "video")


def owner_of(folder: Path, service_groups: Sequence[str] = SERVICE_GROUPS) -> bool:
    """Go on as the owner of `folder`; False, and nothing done, for who is not root, or owns it."""
    if os.geteuid() != 0 or not folder.is_dir() or not (owner := folder.stat()).st_uid:
        return False
    groups = {owner.st_gid}
    with contextlib.suppress(KeyError):  # a user without a name has no other groups
        groups.update(os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid))
    for name in service_groups:
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrnam(name).gr_gid)
    os.setgroups(sorted(groups))
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    return True


@contextlib.contextmanager
def owning(folder: Path) -> Iterator[None]:
    """`owner_of`, and back at the end."""
    group, groups = os.getegid(), os.getgroups()
    became = owner_of(folder)
    try:
        yield
    finally:
        if became:
            os.seteuid(0)
            os.setegid(group)
            os.setgroups(groups)
