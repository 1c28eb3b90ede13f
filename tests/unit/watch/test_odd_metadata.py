"""Metadata that no installer should write: it makes what is installed broken, or does no harm; it ends no watch."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from tests.support.site_packages import install, install_editable, make_old
from trapd.watch.distributions import Kind, locate
from trapd.watch.interpreter import Answer
from trapd.watch.places import Places
from trapd.watch.quiet import Verdict
from trapd.watch.requirements import Requirer
from trapd.watch.sites import scan
from trapd.watch.survey import Survey, Surveyor

FILES = {"trap/__init__.py": "x = 1\n", "trap/run.py": "y = 2\n"}

CONTENTS = {
    "empty": b"",
    "NUL": b"\0\0\n",
    "not UTF-8": b"\xff\xfe\xfd,\xff\n",
    "UTF-16": "Name: trap\n".encode("utf-16"),
    "commas": b",,\n,\n,,,,,\n",
    "a quote without end": b'"trap/run.py' + b"x" * 200_000,
    "a lone carriage return": b"trap/run.py\r,,\rx\n",
    "absolute paths": b"/etc/passwd,,\n/etc\n",
    "paths that lead out": b"trap/../../../etc/passwd,,\n../x,,\ntrap/../..\n..\n.\n./,,\n",
    "paths in other words": b"./trap/run.py,,\ntrap//run.py,,\n",
    "NUL in a path": b"trap/\0.py,sha256=x,1\ntrap/a\0b/__init__.py,,\n",
    "a long name": b"trap/" + b"x" * 5000 + b".py,,\n",
    "below a file": b"trap/run.py/x.py,,\n",
    "odd numbers": "trap/run.py,sha256=\u00e9,\u00b2\ntrap/__init__.py,=,-1\n".encode() + b"x.py,," + b"9" * 5000,
    "patterns": b"**\n[\n*\n?\n",
    "deep JSON": b"[" * 100_000,
    "JSON of another kind": b'[{"dir_info": 1}]',
    "editable from nowhere": b'{"dir_info": {"editable": true}}',
    "editable from a number": b'{"dir_info": {"editable": 1}, "url": 5}',
    "editable from NUL": b'{"dir_info": {"editable": true}, "url": "file:///a%00b"}',
    "editable from half a character": b'{"dir_info": {"editable": true}, "url": "file:///a\\ud800"}',
    "headers": b"Version:\nVersion\n:\nRequires-Dist:\nRequires-Dist: ;;;\nRequires-Dist: [x]; extra ==\n",
}

REQUIRER = Requirer()  # asks a process, which takes 0.1 s of work; the same question has the same answer


def look(site: Path, names: tuple[str, ...] = ("trap",)) -> Survey:
    config = site.parent / "celeryconfig.py"
    config.touch()
    make_old(config)
    digest = hashlib.sha256(b"").hexdigest()
    answer = Answer((str(site),), "python", str(site.parent), {"trap": str(site.parent / "tree/trap")}, False, digest)
    surveyor = Surveyor(site.parent / "python", config, names)
    surveyor._requirer = REQUIRER

    def arm(places: Places) -> frozenset[Path]:
        return frozenset()

    return surveyor.look(answer, arm, wall=time.time(), fresh=True)


@pytest.mark.parametrize("file", ["RECORD", "METADATA", "INSTALLER", "WHEEL", "direct_url.json", "top_level.txt"])
@pytest.mark.parametrize("installer", ["pip", "conda", "rpm"])
def test_odd_metadata_is_told_or_does_no_harm(tmp_path: Path, file: str, installer: str) -> None:
    site = tmp_path / "site-packages"
    info = install(site, "trap", "1.3.0", FILES, installer=installer)
    if installer == "rpm":  # then it goes by the top-level names
        (info / "RECORD").unlink()
    for what, content in CONTENTS.items():
        (info / file).write_bytes(content)
        found = look(site)
        told = found.finding
        assert told.verdict is Verdict.WHOLE or str(site) in told.reason or info.name in told.reason, what
        files = [one.path for one in found.disk.files]
        assert all(path.startswith(("code/trap/", f"code/{info.name}/", "etc/")) for path in files), (what, files)
        assert len(files) == len({str(Path(path)) for path in files}), what
        assert all(Path(one.source).is_relative_to(tmp_path) for one in found.disk.files), what


@pytest.mark.parametrize("file", ["RECORD", "METADATA"])
def test_what_an_installer_has_cut_off_is_no_whole_installation(tmp_path: Path, file: str) -> None:
    info = install(tmp_path / "site-packages", "trap", "1.3.0", FILES)
    for content in (None, b"", b'"' + b"x" * 200_000, b"\0\n"):
        (info / file).unlink() if content is None else (info / file).write_bytes(content)
        finding = look(tmp_path / "site-packages").finding
        assert finding.verdict is Verdict.UNFINISHED
        assert f"{info.name} has no RECORD" in finding.reason or f"{info.name}/METADATA" in finding.reason


def test_a_size_that_is_no_number_says_nothing(tmp_path: Path) -> None:
    info = install(tmp_path / "site-packages", "trap", "1.3.0", FILES)
    with (info / "RECORD").open("a") as record:
        record.write("trap/run.py,,\u00b2\n" + "trap/run.py,," + "9" * 5000 + "\n")
    assert look(tmp_path / "site-packages").finding.verdict is Verdict.WHOLE


def test_a_direct_url_of_another_root_makes_no_stranger_ours(tmp_path: Path) -> None:
    """Without a URL the source tree would be the working directory, for a service the root of everything."""
    site = tmp_path / "site-packages"
    info = install_editable(site, tmp_path / "tree", "trap", "1.4", top_level=["trap"])
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger/__init__.py").touch()
    found = locate("trap", scan([str(site)]), {"stranger": str(tmp_path / "stranger")})
    assert found is not None
    assert not found.has_code


def test_a_lone_init_beside_the_packages_does_not_make_everything_one_package(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    install(site, "other", "1.0", {"other/__init__.py": ""})
    install(site, "trap", "1.3.0", {**FILES, "__init__.py": ""})
    found = locate("trap", scan([str(site)]), {})
    assert found is not None
    assert {file.path for file in found.files if "info" not in file.path} == {*FILES, "__init__.py"}
    assert list(found.trees) == [site / "trap"]


@pytest.mark.parametrize("asked", ["Radio_PySE", "radio-pyse", "RADIO.pyse", "radio__pyse"])
@pytest.mark.parametrize("folder", ["radio_pyse", "Radio_PySE"])
@pytest.mark.parametrize("kind", [Kind.PACKAGED, Kind.EDITABLE, Kind.PLAIN])
def test_a_package_is_found_by_its_distributions_name_in_capitals_or_not(
    tmp_path: Path, asked: str, folder: str, kind: Kind
) -> None:
    site, tree = tmp_path / "dist-packages", tmp_path / "tree"
    home = tree if kind is Kind.EDITABLE else site
    (home / folder).mkdir(parents=True)
    (home / folder / "__init__.py").touch()
    if kind is Kind.EDITABLE:
        install_editable(site, tree, "Radio.Pyse", "0.7")
    elif kind is Kind.PACKAGED:
        (site / "Radio-Pyse-0.7.egg-info").mkdir()
        (site / "Radio-Pyse-0.7.egg-info/PKG-INFO").write_text("Name: Radio-Pyse\nVersion: 0.7\n")
    found = locate(asked, scan([str(site), str(tree)]), {})
    assert found is not None
    assert (found.kind, found.version) == (kind, "unknown" if kind is Kind.PLAIN else "0.7")
    assert f"{folder}/__init__.py" in {file.path for file in found.files}
