"""The demonstration belongs to the checkout, not to the package that is installed."""

from __future__ import annotations

from configparser import ConfigParser
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_only_trapd_is_in_the_wheel() -> None:
    configuration = ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    assert configuration["options"]["packages"] == "find:"
    include = configuration["options.packages.find"]["include"].replace(",", " ").split()
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert {"demo", "trapd"} <= packages
    assert {name for name in packages if any(fnmatchcase(name, pattern) for pattern in include)} == {"trapd"}
