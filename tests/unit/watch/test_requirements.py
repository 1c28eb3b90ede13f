"""Requirements that are satisfied, or not, and what is needed to tell."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.site_packages import install, uninstall
from trapd.watch import requirements
from trapd.watch.requirements import Requirements, Requirer
from trapd.watch.sites import scan


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site-packages"


def ask(site: Path, requires: list[str], markers: dict[str, str] | None = None) -> Requirements:
    install(site, "Held", "1.0", {"held/__init__.py": ""}, requires=requires)
    answer = Requirer().ask(scan([str(site)]), ["held"], markers or {})
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("depa==1.0", "held requires depa==1.0, but 1.1 is installed"),
        ("Dep.A>1.1,<2", ""),  # another distribution, of another name
        ("depa (>=1.0)", ""),
        ("depa~=1.0", ""),
        ("depa!=1.1", "held requires depa!=1.1, but 1.1 is installed"),
        ("depb", "held requires depb, which is not installed"),
        ('depb; python_version < "3.9"', ""),
        ('depb; extra == "doc"', ""),
        ("depc[fast]>=2.0a1", "held requires depc, which is not installed"),
        ("depa @ https://host/depa.whl", ""),
        ("depa ===1.1", ""),
        ("depa >= ", ""),  # no requirement at all
    ],
)
def test_a_requirement_is_satisfied_or_named(site: Path, line: str, why: str) -> None:
    install(site, "depa", "1.1", {"depa/__init__.py": ""})
    answer = ask(site, [line], {"python_version": "3.12"})
    if line.startswith("Dep.A"):
        assert "held requires dep-a" in answer.unsatisfied
    elif line.startswith("depc"):
        assert answer.unsatisfied["held requires depc"].endswith("which is not installed")
    else:
        assert list(answer.unsatisfied.values()) == ([why] if why else [])


def test_markers_are_those_of_the_applications_interpreter(site: Path) -> None:
    lines = ['depb; sys_platform == "plan9"']
    assert ask(site, lines, {"sys_platform": "linux"}).unsatisfied == {}
    assert "held requires depb" in ask(site, lines, {"sys_platform": "plan9"}).unsatisfied


def test_an_extra_is_required_only_where_somebody_asks_for_it(site: Path) -> None:
    install(site, "depa", "1.0", {"depa/__init__.py": ""}, requires=['fast>=2; extra == "fast"', "slow"])
    install(site, "slow", "1.0", {"slow.py": ""})
    assert ask(site, ["depa"]).satisfied == ("depa requires slow", "held requires depa")
    assert ask(site, ["depa[fast]"]).unsatisfied == {
        "depa requires fast": "depa requires fast>=2, which is not installed"
    }


def test_of_several_lines_about_one_distribution_all_have_to_be_satisfied(site: Path) -> None:
    install(site, "depa", "1.0", {"depa/__init__.py": ""})
    answer = ask(site, ["depa>=1", "depa<1"])
    assert answer == Requirements((), {"held requires depa": "held requires depa<1, but 1.0 is installed"})


def test_distributions_that_require_each_other_are_asked_about_once(site: Path) -> None:
    install(site, "depa", "1.0", {"depa/__init__.py": ""}, requires=["held"])
    assert ask(site, ["depa"]).satisfied == ("depa requires held", "held requires depa")


def test_a_pre_release_that_is_installed_will_do_as_for_pip(site: Path) -> None:
    install(site, "depa", "2.0rc1", {"depa/__init__.py": ""})
    assert ask(site, ["depa>=1.0"]).unsatisfied == {}


def test_the_process_is_run_only_when_something_changed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    run = requirements._run

    def counted(question: str, begun: subprocess.Popen[bytes] | None) -> Requirements | None:
        runs.append(question)
        return run(question, begun)

    monkeypatch.setattr(requirements, "_run", counted)
    install(site, "held", "1.0", {"held/__init__.py": ""}, requires=["depa"])
    requirer = Requirer()

    def again() -> Requirements | None:
        return requirer.ask(scan([str(site)]), ["held"], {})

    assert again() == again() != Requirements()
    assert len(runs) == 1
    (site / "held/__init__.py").write_text("x = 1\n")
    again()
    assert len(runs) == 1
    install(site, "depa", "1.0", {"depa/__init__.py": ""})
    assert again() == Requirements(("held requires depa",), {})
    uninstall(site, "depa")
    again()
    assert len(runs) == 3


def test_where_nobody_can_tell_that_is_logged_and_asked_again(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "held", "1.0", {"held/__init__.py": ""})
    requirer, sites = Requirer(), scan([str(site)])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert requirer.ask(sites, ["held"], {}) is None
    assert "cannot tell whether requirements are satisfied: " in caplog.text
    monkeypatch.undo()
    assert requirer.ask(sites, ["held"], {}) == Requirements()


@pytest.mark.parametrize("killed", [False, True])
def test_one_that_was_begun_before_answers_as_any_other(site: Path, *, killed: bool) -> None:
    install(site, "held", "1.0", {"held/__init__.py": ""}, requires=["depa"])
    requirer = Requirer()
    requirer.expect()
    waiting = requirer._begun
    assert waiting is not None
    requirer.expect()
    assert requirer._begun is waiting, "one is enough"
    if killed:
        waiting.kill()
        waiting.wait(10)
    answer = requirer.ask(scan([str(site)]), ["held"], {})
    assert answer is not None
    assert answer.unsatisfied
    assert waiting.returncode == (-signal.SIGKILL if killed else 0)


def test_one_that_nobody_asks_is_ended(site: Path) -> None:
    requirer = Requirer()
    requirer.rest()
    requirer.expect()
    waiting = requirer._begun
    assert waiting is not None
    requirer.rest()
    assert waiting.returncode == -signal.SIGKILL
    install(site, "held", "1.0", {"held/__init__.py": ""})
    assert requirer.ask(scan([str(site)]), ["held"], {}) == Requirements()


def test_the_daemon_does_not_import_the_library() -> None:
    """It costs 5.7 MB."""
    script = "import sys, trapd.daemon; sys.exit('packaging' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
