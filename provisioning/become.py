"""Who started us as root gets the service's eyes: what root may open, the service may not, and what root does
not own (the key), it must not touch."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Sequence
from pathlib import Path


def owner_of(folder: Path, service_groups: Sequence[str] = ()) -> bool:
    """Go on as the owner of `folder`, for good; False, and nothing done, for who is not root, or owns it."""
    if os.geteuid() != 0 or not folder.is_dir() or not (owner := folder.stat()).st_uid:
        return False
    groups = {owner.st_gid}
    with contextlib.suppress(KeyError):  # a dynamic user has no name while its service is not running
        groups.update(os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid))
    for name in service_groups:
        with contextlib.suppress(KeyError):
            groups.add(grp.getgrnam(name).gr_gid)
    os.setgroups(sorted(groups))
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
    return True
