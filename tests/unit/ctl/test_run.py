"""`trapctl run`: on which code, with which settings, and with which options Trap's main line is started."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trapd.ctl import run
from trapd.ctl.holder import Holder
from trapd.ctl.main import CONTEXT
from trapd.ctl.session import Session
from trapd.ctl.verbs import run as verb
from trapd.distribute import endings
from trapd.errors import NotPermittedError, TrapdError, UsageError

PROGRESS = {"pool": "default", "pin": "1", "generation": 3, "digest": "d", "until": 1.0, "message": "it is pinned"}


class Started:
    """In place of the run itself, and of trapd."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
        self.statuses, self.argv, self.environ = [status], list[str](), dict[str, str]()
        self.generations: list[str] = []
        self.pools: list[Sequence[str]] = []
        monkeypatch.setattr(run, "run", self._run)
        monkeypatch.setattr(run, "find_program", str)
        monkeypatch.setattr(Holder, "begin", self._begin)
        self.wanted = [4]  # generations, one after the other; the last one stays
        self.workers: list[Mapping[str, Sequence[str]]] = []  # what `tasks` says of them
        monkeypatch.setattr(Session, "ask", self._ask)

    def _ask(self, question: Any) -> Any:
        generation = self.wanted.pop(0) if self.wanted[1:] else self.wanted[0]
        return {"pools": [{"name": "default", "generation": generation}], "workers": self.workers}

    def _run(self, program: str, argv: Sequence[str], environ: Mapping[str, str], meanwhile: Any) -> int:
        self.argv, self.environ = list(argv), dict(environ)
        self.generations.append(Path(environ.get("TRAPD_GENERATION", "")).name)
        return self.statuses.pop(0) if self.statuses[1:] else self.statuses[0]

    def _begin(self, pools: Sequence[str], reason: str) -> Mapping[str, Any]:
        self.pools.append(pools)
        return {"default": PROGRESS}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return configured(tmp_path)


def configured(folder: Path, app: str = run.APPLICATION, pool: str = "") -> Session:
    (folder / "celeryconfig.py").write_text("broker_url = 'memory://'\n")
    (folder / "trapd.toml").write_text(
        f'[trapd]\nbackend = "embedded"\nstate_directory = "state"\nruntime_directory = "run"\n'
        f'[app]\napp = "{app}"\nceleryconfig = "celeryconfig.py"\npython = "/opt/trap/bin/python"\n'
        f"[pools.default]\n{pool}\n"
    )
    return Session(str(folder / "trapd.toml"), None, {"PATH": "/bin"})


def made(folder: Path, number: int, *, with_run: bool = True) -> Path:
    generation = folder / "state/generations" / str(number)
    module = generation / "runtime/trapd/distribute/run.py"
    module.parent.mkdir(parents=True)
    if with_run:
        module.touch()
    manifest = {"schema": 2, "python": "/opt/trap/bin/python", "import_path": ["code", "runtime"]}
    (generation / "manifest.json").write_text(json.dumps(manifest))
    return generation


def tail(argv: Sequence[str]) -> list[str]:
    """What stands behind the file that lends trapd to the interpreter."""
    return [*argv[argv.index("-P") + 2 :]]


def test_it_runs_on_the_generation_that_is_held(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, generation = Started(monkeypatch, 23), made(tmp_path, 3)
    made(tmp_path, 4)
    given = ["--in-flight", "2", "--keep", "kept", "--", "-i", "a.fits", "--on-error", "x"]
    names = CONTEXT["help_option_names"]  # click keeps the help option of a verb as it was first asked for
    result = CliRunner().invoke(verb.verb, given, obj=session, standalone_mode=False, help_option_names=names)
    assert result.return_value == 23, result
    assert started.argv[0] == "/opt/trap/bin/python"
    options = ["--on-error", "reject", "--in-flight", "2", "--keep", "kept", "--on-upgrade", "pin"]
    trap = ["--", "-i", "a.fits", "--on-error", "x"]
    assert tail(started.argv) == [run.AS_SERVICE, run.MODULE, *options, *trap]
    assert started.environ["TRAPD_GENERATION"] == str(generation)
    assert started.environ["PYTHONPATH"] == f"{generation}/code:{generation}/runtime"
    assert started.pools == [[]]


def test_without_a_pin_it_runs_on_what_the_pool_is_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = configured(tmp_path, pool='queues = ["cpu", "gpu"]')
    started, generation = Started(monkeypatch), made(tmp_path, 4)
    made(tmp_path, 3)
    assert run.start(session, "default", "redo", [], ["-i", "a.fits"]) == 0
    assert tail(started.argv)[2:] == ["--on-upgrade", "redo", "--queue", "cpu", "--", "-i", "a.fits"]
    assert started.environ["TRAPD_GENERATION"] == str(generation)
    assert started.pools == []


@pytest.mark.parametrize("on_upgrade", ["pin", "mix"])
@pytest.mark.parametrize("pool", ["default", None], ids=["named", "the only pool"])
@pytest.mark.parametrize(
    ("settings", "queue", "told"),
    [
        pytest.param("", [], "", id="Celery's default queue"),
        pytest.param('queues = ["bob"]', ["--queue", "bob"], "", id="one"),
        pytest.param(
            'queues = ["bob", "alice"]',
            ["--queue", "alice"],
            "pool default reads the queues bob, alice; this run uses alice, the one with your name\n",
            id="the user's own",
        ),
        pytest.param(
            'queues = ["bob", "carol"]',
            ["--queue", "bob"],
            "pool default reads the queues bob, carol; this run uses bob, the first, because none has the name alice\n",
            id="none of the user's",
        ),
        pytest.param(
            'queues = ["bob", "carol", "alice"]\nexclude_queues = ["bob", "alice"]',
            ["--queue", "carol"],
            "",
            id="those that the workers do not read are none",
        ),
    ],
)
def test_the_queue_is_one_that_the_pool_reads_and_the_user_s_own_if_there_is_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    on_upgrade: str,
    pool: str | None,
    settings: str,
    queue: list[str],
    told: str,
) -> None:
    started = Started(monkeypatch)
    monkeypatch.setattr(run, "name_of_user", lambda number: "alice")
    for number in (3, 4):
        made(tmp_path, number)
    assert run.start(configured(tmp_path, pool=settings), pool, on_upgrade, [], ["-i", "a.fits"]) == 0
    assert tail(started.argv)[2:] == ["--on-upgrade", on_upgrade, *queue, "--", "-i", "a.fits"]
    said = capsys.readouterr().err
    assert told in said
    assert ("queue" in said) == bool(told)


@pytest.mark.parametrize(
    ("settings", "there"),
    [
        pytest.param('queues = ["alice", "cpu", "gpu"]\nexclude_queues = ["gpu"]', "alice, cpu", id="of its own"),
        pytest.param("", "cpu, other", id="those of the celeryconfig, which the workers read"),
    ],
)
def test_a_user_whose_name_is_no_queue_s_names_one_of_those_that_the_pool_reads(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: str,
    there: str,
) -> None:
    started, session = Started(monkeypatch), configured(tmp_path, pool=settings)
    monkeypatch.setattr(run, "name_of_user", lambda number: "alice")
    started.workers = [{"queues": ["other"]}, {"queues": ["cpu", "other"]}]
    made(tmp_path, 3)
    given, names = ["-Q", "cpu", "--", "-i", "a.fits"], CONTEXT["help_option_names"]
    CliRunner().invoke(verb.verb, given, obj=session, standalone_mode=False, help_option_names=names)
    assert tail(started.argv)[2:] == [
        "--on-error",
        "reject",
        "--on-upgrade",
        "pin",
        "--queue",
        "cpu",
        "--",
        "-i",
        "a.fits",
    ]
    assert "queue" not in capsys.readouterr().err
    with pytest.raises(UsageError, match=f"cannot use the queue gpu: pool default reads {there}; name another one, or"):
        run.start(session, "default", "mix", [], [], queue="gpu")


@pytest.mark.parametrize("on_upgrade", ["pin", "redo"])
def test_which_of_several_pools_has_to_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_upgrade: str
) -> None:
    started, session = Started(monkeypatch), configured(tmp_path, pool="[pools.gpu]")
    made(tmp_path, 4)
    with pytest.raises(UsageError, match="without the name of a pool: there are default, gpu; use --pool"):
        run.start(session, None, on_upgrade, [], [])
    assert started.argv == []


def test_a_run_to_be_redone_moves_to_the_code_that_an_upgrade_has_brought(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = Started(monkeypatch)
    for number in (3, 4, 5):
        made(tmp_path, number)
    assert run.OTHER_CODE == endings.OTHER_CODE
    started.statuses, started.wanted = [25, 0], [3, 4]
    assert run.start(session, None, "redo", [], []) == 0
    assert started.generations == ["3", "4"]
    assert "generation 4 is the one to run by now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("on_upgrade", "statuses", "wanted", "generations"),
    [
        pytest.param("redo", [25], [3], ["3"], id="the same generation would meet the same"),
        pytest.param("redo", [23], [3, 4], ["3"], id="an image was rejected"),
        pytest.param("redo", [25], [3, 4, 5, 3, 4, 5], ["3", "4", "5", "3"], id="not without end"),
        pytest.param("mix", [25], [3, 4], ["3"], id="a mixture was asked for"),
    ],
)
def test_a_run_moves_only_where_that_helps(
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_upgrade: str,
    statuses: list[int],
    wanted: list[int],
    generations: list[str],
) -> None:
    started = Started(monkeypatch)
    for number in (3, 4, 5):
        made(tmp_path, number)
    started.statuses, started.wanted = statuses, wanted
    assert run.start(session, None, on_upgrade, [], []) == statuses[0]
    assert started.generations == generations


def test_a_generation_of_an_older_trapd_is_refused(session: Session, tmp_path: Path) -> None:
    made(tmp_path, 3, with_run=False)
    with pytest.raises(TrapdError, match="an older trapd made it; trapctl recycle makes a new one"):
        run.place(session, 3)


def test_another_application_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrapdError, match=r"cannot run Trap: \[app\] app is harbour:app, and"):
        run.place(configured(tmp_path, "harbour:app"), 3)


def test_before_the_first_generation_it_runs_on_what_is_installed(session: Session, tmp_path: Path) -> None:
    found = run.place(session, 3)
    assert found.environ["TRAPD_CELERYCONFIG"] == str(tmp_path / "celeryconfig.py")
    assert found.note == "no generation is there; using what is installed now"


def test_who_may_not_read_the_password_of_the_service_uses_an_account_of_their_own(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, 3)
    monkeypatch.setattr(run, "_shut", lambda session: "user ann may not read it")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(NotPermittedError, match=r"user ann may not read it; put a celeryconfig.py of your own into"):
        run.place(session, 3)
    (tmp_path / "elsewhere/celeryconfig.py").touch()
    found = run.place(session, 3)
    assert (found.leading, "TRAPD_GENERATION" in found.environ) == ((run.MODULE,), False)
    assert found.note == (
        "using what is installed now, with your own celeryconfig.py, because user ann may not read it"
    )
