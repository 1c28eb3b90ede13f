"""What the application's interpreter says of its import path and of its celeryconfig."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.old_python import old_python
from trapd.watch.interpreter import Answer, Interpreter
from trapd.watch.probe import MARK


@pytest.fixture
def celeryconfig(tmp_path: Path) -> Path:
    path = tmp_path / "celeryconfig.py"
    path.write_text("broker_url = 'redis://'\n")
    return path


def ask(celeryconfig: Path, python: str | Path = sys.executable, timeout: float = 30) -> Answer:
    return asyncio.run(Interpreter(Path(python), celeryconfig, timeout=timeout).ask())


def test_it_says_where_it_imports_from_and_who_it_is(celeryconfig: Path) -> None:
    answer = ask(celeryconfig)
    assert answer.problem == ""
    assert sys.version in answer.identity
    assert answer.prefix == sys.prefix
    assert any(path.endswith("site-packages") for path in answer.paths)
    assert not any(
        path.endswith(("lib-dynload", ".zip")) or path == str(Path(os.__file__).parent) for path in answer.paths
    )


def test_the_daemons_own_python_variables_are_none_of_the_applications(
    celeryconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert str(tmp_path) not in ask(celeryconfig).paths


def environment(home: Path) -> Path:
    """Makes a virtual environment with nothing in it, home/venv; returns its site-packages."""
    real = Path(sys.executable).resolve()
    site = home / f"venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    site.mkdir(parents=True)
    (home / "venv/bin").mkdir()
    (home / "venv/bin/python").symlink_to(real)
    (home / "venv/pyvenv.cfg").write_text(f"home = {real.parent}\ninclude-system-site-packages = false\n")
    return site


def but_debians(paths: Sequence[str]) -> list[str]:
    """Without the folders that the ``site`` of Debian's Python adds to each environment."""
    return [path for path in paths if not path.endswith("/dist-packages")]


def test_mesons_finder_says_what_its_install_plan_says_and_builds_nothing(celeryconfig: Path, tmp_path: Path) -> None:
    site = environment(tmp_path)
    plan = {
        "python": {"/src/trap/__init__.py": {"destination": "{py_platlib}/trap/__init__.py", "tag": "python-runtime"}},
        "targets": {"/src/build/./core.so": {"destination": "{py_purelib}/trap/core.so", "tag": "runtime"}},
        "install_subdirs": {"/src/sky": {"destination": "{py_purelib}/trap/sky", "exclude_dirs": []}},
        "man": {"/src/trap.1": {"destination": "{mandir}/man1/trap.1", "tag": "man"}},
    }
    (tmp_path / "build/meson-info").mkdir(parents=True)
    (tmp_path / "build/meson-info/intro-install_plan.json").write_text(json.dumps(plan))
    (site / "_trap_editable_loader.py").write_text(
        "import sys\nclass Finder:\n"
        "    def __init__(self, build): self._build_path = build\n"
        "    def find_spec(self, name, path=None, target=None): pass\n"
        f"sys.meta_path.insert(0, Finder({str(tmp_path / 'build')!r}))\n"
        "sys.meta_path.insert(0, Finder('/absent'))\n"
    )
    (site / "trap-editable.pth").write_text("import _trap_editable_loader\n")
    assert ask(celeryconfig, tmp_path / "venv/bin/python").editable == {
        "/trap/__init__.py": "/src/trap/__init__.py",
        "/trap/core.so": "/src/build/core.so",
        "/trap/sky": "/src/sky",
    }


def test_finders_of_editable_installs_say_what_they_map_to_where(celeryconfig: Path, tmp_path: Path) -> None:
    site = environment(tmp_path)
    (site / "__editable___trap_1_finder.py").write_text("MAPPING = {'ns.trap': '/src/ns/trap', 'one': '/src/one'}\n")
    (site / "_editable_impl_two.py").write_text(
        "import sys\n"
        "class RedirectingFinder:\n"
        "    _redirections = {'two': '/two/two/__init__.py', 'three': '/two/three.py'}\n"
        "    def find_spec(fullname, path=None, target=None):\n"
        "        return None\n"
        "sys.meta_path.append(RedirectingFinder)\n"
    )
    (site / "a.pth").write_text("import __editable___trap_1_finder\nimport _editable_impl_two\n")
    expected = {"ns.trap": "/src/ns/trap", "one": "/src/one", "two": "/two/two", "three": "/two/three"}
    assert ask(celeryconfig, tmp_path / "venv/bin/python").editable == expected


async def test_a_folder_that_a_path_file_names_and_that_is_away_belongs_to_the_import_path(
    celeryconfig: Path, tmp_path: Path
) -> None:
    site = environment(tmp_path)
    (site / "a.pth").write_text(f"# a note\n\nimport sys\n{tmp_path}/there\n{tmp_path}/away\nnear\n")
    (site / "b.pth").write_text("no\0path\nimport sys; sys.path.append('__editable__.trap.finder.__path_hook__')\n")
    (tmp_path / "there").mkdir()
    expected = [str(site), f"{tmp_path}/there", f"{tmp_path}/away", f"{site}/near"]

    interpreter = Interpreter(tmp_path / "venv/bin/python", celeryconfig)
    assert but_debians((await interpreter.ask()).paths) == expected
    (tmp_path / "away/trap").mkdir(parents=True)
    assert but_debians((await interpreter.ask()).paths)[-2:] == [f"{tmp_path}/away", f"{site}/near"], "asked anew"


@pytest.mark.parametrize("name", ["task_always_eager", "CELERY_ALWAYS_EAGER"])
@pytest.mark.parametrize("value", [True, False])
def test_eager_is_known_by_its_new_and_its_old_name(celeryconfig: Path, name: str, value: bool) -> None:
    celeryconfig.write_text(f"import celeryconfig\n{name} = {value}\nprint('not an answer', celeryconfig.__file__)\n")
    assert ask(celeryconfig).eager is value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\n\nraise ValueError('no disk')\n", "{path}:3: ValueError: no disk"),
        ("import absent_module\n", "{path}:1: ModuleNotFoundError: No module named 'absent_module'"),
        ("x = (\n", "{path}:1: SyntaxError: '(' was never closed"),
        (
            "import json\n\n\ndef f():\n    json.loads('')\n\n\nf()\n",
            "{path}:5: json.decoder.JSONDecodeError: Expecting value",
        ),
        ("import sys\nsys.exit('off')\n", "{path}:2: SystemExit: off"),
    ],
)
def test_a_celeryconfig_that_raises_is_named_with_its_line(celeryconfig: Path, text: str, problem: str) -> None:
    celeryconfig.write_text(text)
    answer = ask(celeryconfig)
    assert answer.problem.startswith("cannot load " + problem.format(path=celeryconfig))
    assert answer.paths, "where code comes from is known all the same"


def test_passwords_in_an_error_are_masked(celeryconfig: Path) -> None:
    for password in ("s3cret", "s3:c@ret"):
        celeryconfig.write_text(f"raise ValueError('cannot reach amqp://trap:{password}@host//')\n")
        assert "amqp://trap:***@host//" in ask(celeryconfig).problem


def test_the_celeryconfig_is_asked_with_the_variables_that_its_workers_get(celeryconfig: Path) -> None:
    celeryconfig.write_text("import os\nraise ValueError(os.environ['TRAPD_STATE_DIRECTORY'])\n")
    interpreter = Interpreter(Path(sys.executable), celeryconfig, environment={"TRAPD_STATE_DIRECTORY": "/srv/state"})
    assert asyncio.run(interpreter.ask()).problem.endswith("ValueError: /srv/state")


def test_a_celeryconfig_that_is_missing(celeryconfig: Path) -> None:
    celeryconfig.unlink()
    assert ask(celeryconfig).problem.startswith(f"cannot load {celeryconfig}: FileNotFoundError")


def test_a_celeryconfig_that_hangs_is_given_up_with_all_it_started(celeryconfig: Path) -> None:
    pid = celeryconfig.with_name("pid")
    celeryconfig.write_text(
        textwrap.dedent(f"""
            import subprocess, time
            child = subprocess.Popen(["sleep", "600"])
            open({str(pid)!r}, "w").write(str(child.pid))
            time.sleep(600)
            """)
    )
    answer = ask(celeryconfig, timeout=1.5)
    assert answer.problem == f"cannot load {celeryconfig}:5: it had not come to its end after 1.5 s"
    assert answer.paths
    assert processes.ended_within(int(pid.read_text()), 5.0)  # it was sent SIGKILL; the kernel takes a moment


HANGS = "import time\ntime.sleep(600)\n"


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"sitecustomize.py": HANGS}, "{site}/sitecustomize.py:2"),
        ({"late.pth": "import time; time.sleep(600)\n"}, "a line of a path file (.pth)"),
        ({"late.pth": "import late\n", "late.py": HANGS}, "{site}/late.py:2, for a line of a path file (.pth)"),
    ],
)
async def test_a_start_up_file_that_hangs_is_named_and_not_run_again_until_something_changed(
    celeryconfig: Path, tmp_path: Path, files: dict[str, str], where: str
) -> None:
    site = environment(tmp_path)
    first = {"PYTHONPATH": str(site)}  # a sitecustomize there comes before the one of Debian's Python
    interpreter = Interpreter(tmp_path / "venv/bin/python", celeryconfig, timeout=1.0, environment=first)
    known = await interpreter.ask()
    for name, text in files.items():
        (site / name).write_text(text)
    expected = (
        f"cannot ask {tmp_path}/venv/bin/python for its import path: {where.format(site=site)} had not come to its end "
        "after 1 s, and each start of this Python executes it; correct or remove that file"
    )
    assert (await interpreter.ask()).problem == expected
    began = time.monotonic()
    answer = await interpreter.ask(again=True)
    assert (answer.problem, answer.celeryconfig, answer.paths) == (expected, "", known.paths)
    assert time.monotonic() - began < 0.9
    (site / next(reversed(files))).write_text("")
    assert (await interpreter.ask(changed="late.py" in files)).problem == ""


def test_a_celeryconfig_that_kills_its_interpreter(celeryconfig: Path) -> None:
    celeryconfig.write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert ask(celeryconfig).problem == f"cannot load {celeryconfig}: the interpreter ended"


def test_threads_that_a_celeryconfig_starts_keep_nobody_waiting(celeryconfig: Path) -> None:
    celeryconfig.write_text("import threading, time\nthreading.Thread(target=time.sleep, args=[600]).start()\n")
    assert ask(celeryconfig, timeout=10).problem == ""


def test_an_interpreter_that_cannot_run(celeryconfig: Path, tmp_path: Path) -> None:
    assert ask(celeryconfig, tmp_path / "gone") == Answer(
        problem=f"cannot run {tmp_path}/gone: no such file or directory"
    )


def test_something_that_is_no_python(celeryconfig: Path) -> None:
    assert ask(celeryconfig, "/bin/true").problem == ("cannot ask /bin/true for its import path; is it a Python?")


@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.10.13"])
def test_a_python_that_is_too_old_is_told_with_its_version(celeryconfig: Path, tmp_path: Path, version: str) -> None:
    old = old_python(tmp_path / "python", version)
    assert ask(celeryconfig, old).problem == (
        f"cannot run workers on {old}: it is Python {version}, and a worker needs 3.11 or later; "
        "make the application's virtual environment with a newer Python"
    )


def test_a_python_that_is_new_enough_is_not_blamed_for_its_version(celeryconfig: Path, tmp_path: Path) -> None:
    broken = old_python(tmp_path / "python", "3.11.0")
    assert ask(celeryconfig, broken).problem == f"cannot ask {broken} for its import path; is it a Python?"


@pytest.mark.parametrize("said", [b"hello\n", b"no end of line", b"{}\n", b"[1]\n{", b"\xff}\n", b"x\n" * 2**12])
def test_whatever_start_up_files_print_is_no_answer(celeryconfig: Path, tmp_path: Path, said: bytes) -> None:
    site = environment(tmp_path)
    (site / "late.pth").write_text("import late\n")
    (site / "late.py").write_text(f"import os\nos.write(1, {said!r})\nprint('and this, some time later')\n")
    answer = ask(celeryconfig, tmp_path / "venv/bin/python")
    assert answer.problem == ""
    assert but_debians(answer.paths) == [str(site)]


def test_an_answer_that_is_cut_short_is_told(fake_python: Path, celeryconfig: Path) -> None:
    answer = fake_python.parent.parent / "answer"
    answer.write_bytes(answer.read_bytes()[:20])
    assert ask(celeryconfig, fake_python).problem.startswith(f"cannot ask {fake_python} for its import path")


# --- what is remembered ---------------------------------------------------------------------------------------------


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    """Answers with what is in ``answer``, and leaves a line in ``runs`` each time."""
    site = tmp_path / "lib/site-packages"
    site.mkdir(parents=True)
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\necho x >> {tmp_path}/runs\ncat {tmp_path}/answer\n")
    python.chmod(0o755)
    (tmp_path / "answer").write_text(
        f'{MARK}{{"paths": ["{site}"], "identity": "fake", "prefix": "{tmp_path}", "editable": {{}},'
        '"version": "", "standard": []}\n'
        f'{MARK}{{"eager": false}}\n'
    )
    return python


def runs(python: Path) -> int:
    return len((python.parent.parent / "runs").read_text().splitlines())


async def test_it_is_asked_again_only_when_something_changed_that_it_depends_on(
    fake_python: Path, celeryconfig: Path
) -> None:
    site = fake_python.parent.parent / "lib/site-packages"
    another = fake_python.read_text() + "\n"

    interpreter = Interpreter(fake_python, celeryconfig)
    await interpreter.ask()
    await interpreter.ask()
    assert runs(fake_python) == 1
    changes = [
        (celeryconfig, "broker_url = 'amqp://'\n"),
        (site / "trap.pth", "/src\n"),
        (site / "trap.pth", "/src2\n"),
        (site / "trap-1.4.dist-info", ""),
        (fake_python, another),
    ]
    for count, (path, text) in enumerate(changes, start=2):
        path.write_text(text)
        await interpreter.ask()
        await interpreter.ask()
        assert runs(fake_python) == count, path


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("import os, json, ssl, kombu", 2),
        ("import os, json, ssl, xml.dom", 1),
        ("from importlib.metadata import version", 2),
        ("__import__('plugin')", 2),
    ],
)
async def test_metadata_that_changes_matters_only_to_a_celeryconfig_that_asks_what_is_installed(
    celeryconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, asked: int
) -> None:
    site = environment(tmp_path)
    (site / "plugin.py").touch()
    (site / "kombu.py").touch()
    celeryconfig.write_text(f"{text}\n")
    interpreter, count = Interpreter(tmp_path / "venv/bin/python", celeryconfig), 0
    run = interpreter._run

    async def counted(digest: str) -> Answer:
        nonlocal count
        count += 1
        return await run(digest)

    monkeypatch.setattr(interpreter, "_run", counted)
    assert (await interpreter.ask()).problem == ""
    (site / "trap-1.4.dist-info").mkdir()
    (site / "~rap-1.3.dist-info").mkdir()
    await interpreter.ask(changed=True)
    assert count == asked
    (site / "another.py").touch()
    await interpreter.ask(changed=True)
    assert count == asked + 1


async def test_a_celeryconfig_edited_while_it_is_executed_is_asked_again(fake_python: Path, celeryconfig: Path) -> None:
    edit = f"[ -e {fake_python}.edited ] || {{ echo '# more' >> {celeryconfig}; touch {fake_python}.edited; }}\n"
    fake_python.write_text(fake_python.read_text().replace("cat ", edit + "cat "))

    told: list[str] = []
    interpreter = Interpreter(fake_python, celeryconfig)
    asked = [await interpreter.ask(), await interpreter.ask(), await interpreter.ask()]
    assert runs(fake_python) == 2
    told.extend(answer.celeryconfig for answer in asked)
    now = hashlib.sha256(celeryconfig.read_bytes()).hexdigest()
    assert [digest == now for digest in told] == [False, True, True]


async def test_a_failure_is_never_remembered(fake_python: Path, celeryconfig: Path) -> None:
    answer = fake_python.parent.parent / "answer"
    good = answer.read_text()

    interpreter = Interpreter(fake_python, celeryconfig)
    bad = f'{MARK}{{"error": "ImportError: half a package", "at": "x:1"}}\n'
    answer.write_text(f"{good.splitlines()[0]}\n{bad}")
    assert (await interpreter.ask()).problem == "cannot load x:1: ImportError: half a package"
    answer.write_text(good)
    assert (await interpreter.ask()).problem == ""


def test_a_trapd_without_descriptors_says_so_and_goes_on(celeryconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe2", none_left)
        assert ask(celeryconfig).problem == f"cannot run {sys.executable}: too many open files"
    assert ask(celeryconfig).problem == ""
