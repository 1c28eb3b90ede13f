"""Do installers vouch for what was changed? Then nobody has to wait in order to know that it has come to its end.

pip, uv and their like write a RECORD last of all, which is true only when every file is there; dpkg has a lock, and the
state of each package. Whether they are at work, and whether what they left is whole, is asked in installers.py. Here is
asked who made the change: git, rsync, cp and editors leave nothing that says whether they have finished.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from trapd.content import CELERYCONFIG, INTERPRETER, Content
from trapd.watch.records import keeps_to_record, read_installer
from trapd.watch.sites import Site, find


def vouched(
    before: Mapping[str, Content], now: Mapping[str, Content], sites: Sequence[Site], unrecorded: Collection[str]
) -> bool:
    """Whether everything that differs between two tables was left so by an installer, and something does.

    ``unrecorded``: normalised names of distributions whose RECORD does not list their files, or is not true.
    """
    changed = [name for name in {*before, *now} if before.get(name) != now.get(name)]
    return bool(changed) and all(_vouched(name, sites, unrecorded) for name in changed)


def _vouched(name: str, sites: Sequence[Site], unrecorded: Collection[str]) -> bool:
    if name in (INTERPRETER, CELERYCONFIG):
        return False
    where = find(sites, name)
    if where is None:  # removed, with its RECORD
        return True
    site, metadata = where
    if site.of_system:
        return True
    return site.installed and name not in unrecorded and keeps_to_record(read_installer(site.path / metadata))
