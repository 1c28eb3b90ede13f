"""Who may not read what a worker reads is told so, and not that no worker can start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trapd.access import Closed
from trapd.ctl import application, celery, check
from trapd.ctl.exits import Exit, exit_of
from trapd.ctl.session import Session
from trapd.errors import NotPermittedError

REASON, REMEDY = (
    "user olga may not read it, only user root and the members of group trapd-worker may",
    "join that group",
)


@pytest.mark.parametrize("verb", [check.check, lambda session: celery.become(session, ["inspect", "ping"])])
@pytest.mark.parametrize("shut", ["celeryconfig.py", "secrets.env"])
def test_check_and_celery_say_who_may_read_a_closed_file(
    verb: Callable[[Session], object], shut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trapd.toml"
    file.write_text(
        '[app]\napp = "shop"\nceleryconfig = "celeryconfig.py"\n[pools.default]\nenvironment_file = "secrets.env"\n'
    )
    monkeypatch.setattr(application, "closed", lambda path: Closed(path, REASON, REMEDY) if path.name == shut else None)
    with pytest.raises(NotPermittedError) as raised:
        verb(Session(str(file), None, {}))
    assert str(raised.value) == f"cannot run shop as a worker would: {REASON}; {REMEDY}"
    assert exit_of(raised.value, "check") == Exit.NOT_PERMITTED
