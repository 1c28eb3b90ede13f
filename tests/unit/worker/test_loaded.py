"""What a worker and its children have loaded, by distribution, and what changed while they had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.site_packages import install, install_editable
from trapd.worker import children as children_module
from trapd.worker import loaded as loaded_module
from trapd.worker import owners as owners_module
from trapd.worker.children import Children
from trapd.worker.live import live
from trapd.worker.loaded import Loaded
from trapd.worker.owners import Owners


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleType]:
    """What is loaded, in the place of sys.modules."""
    loaded: dict[str, ModuleType] = {}
    fake = SimpleNamespace(modules=loaded, path=[str(tmp_path / "site-packages")])
    for module in (loaded_module, children_module, owners_module):
        monkeypatch.setattr(module, "sys", fake)
    return loaded


@pytest.fixture
def site(tmp_path: Path, modules: dict[str, ModuleType]) -> Path:
    """The only entry of the import path."""
    folder = tmp_path / "site-packages"
    install(folder, "numpy", "1.26.4", {"numpy/__init__.py": "", "numpy/core.py": "", "_np.py": ""})
    return folder


Load = Callable[[str, Path], None]


@pytest.fixture
def load(modules: dict[str, ModuleType]) -> Load:
    """As ``import`` leaves it."""

    def load(name: str, file: Path) -> None:
        modules[name] = ModuleType(name)
        modules[name].__file__ = str(file)

    return load


def owner(file: Path) -> str | None:
    found = Owners().of(str(file))
    return found.name if found else None


def test_a_file_belongs_to_the_distribution_whose_record_lists_it(site: Path) -> None:
    for name in ("numpy/__init__.py", "numpy/core.py", "_np.py"):
        assert owner(site / name) == "numpy"
    assert owner(site / "nobody.py") is None
    assert owner(Path("/usr/lib/python3.11/ssl.py")) is None


def test_of_a_namespace_each_file_belongs_to_its_own(site: Path) -> None:
    install(site, "Ns.One", "1.0", {"ns/one.py": ""})
    install(site, "ns-two", "1.0", {"ns/two.py": ""})
    assert (owner(site / "ns/one.py"), owner(site / "ns/two.py")) == ("ns-one", "ns-two")


def test_without_a_record_it_is_known_by_what_it_says_or_by_its_name(site: Path) -> None:
    (site / "PyYAML-6.0.egg-info").mkdir()
    (site / "PyYAML-6.0.egg-info/top_level.txt").write_text("yaml\n_yaml\n")
    (site / "six-1.16.egg-info").mkdir()
    assert (owner(site / "yaml/loader.py"), owner(site / "six.py")) == ("pyyaml", "six")


def test_of_an_editable_install_the_source_tree_is_its(site: Path, tmp_path: Path) -> None:
    install_editable(site, tmp_path / "tree", "common", "1.0")
    assert owner(tmp_path / "tree/common/late.py") == "common"


def test_what_is_installed_later_is_found(site: Path) -> None:
    owners = Owners()
    assert owners.of(str(site / "late.py")) is None
    install(site, "late", "1.0", {"late.py": ""})
    found = owners.of(str(site / "late.py"))
    assert found is not None
    assert found.name == "late"


def test_it_names_what_is_loaded_and_tells_whether_that_is_news(site: Path, load: Load) -> None:
    install(site, "late", "1.0", {"late.py": ""})
    loaded = Loaded("/generations/7")
    assert not loaded.look()
    load("numpy", site / "numpy/__init__.py")
    assert loaded.look()
    assert loaded.names == ("numpy",)
    load("numpy.core", site / "numpy/core.py")
    assert not loaded.look()
    load("late", site / "late.py")
    assert loaded.look()
    assert (loaded.names, loaded.replaced) == (("late", "numpy"), ())


def test_it_tells_what_of_that_came_from_the_generation(site: Path, load: Load) -> None:
    install(site, "late", "1.0", {"late.py": ""})
    loaded = Loaded(str(site.parent))
    load("numpy", site / "numpy/__init__.py")
    assert loaded.look()
    assert loaded.copied == ("numpy",)
    load("late", site / "late.py")
    loaded.look()
    assert loaded.copied == ("late", "numpy")
    elsewhere = Loaded("/generations/7")
    elsewhere.look()
    assert (elsewhere.names, elsewhere.copied) == (("late", "numpy"), ())


@pytest.mark.parametrize(("core", "expected"), [("newer", ["numpy.core"]), ("", [])])
def test_a_module_that_is_newer_than_others_of_its_distribution_is_told(
    site: Path, load: Load, core: str, expected: list[str]
) -> None:
    loaded = Loaded("/generations/7")
    load("numpy", site / "numpy/__init__.py")
    loaded.look()
    install(site, "numpy", "1.26.4", {"numpy/__init__.py": "", "numpy/core.py": core, "_np.py": ""}, installer="uv")
    load("numpy.core", site / "numpy/core.py")
    assert loaded.look() is bool(expected)
    assert [entry.partition("=")[0] for entry in loaded.replaced] == expected


def test_of_a_source_tree_the_files_themselves_tell(site: Path, load: Load, tmp_path: Path) -> None:
    tree = tmp_path / "tree/common"
    tree.mkdir(parents=True)
    (tree / "__init__.py").write_text("RATE = 1\n")
    install_editable(site, tmp_path / "tree", "common", "1.0")
    loaded = Loaded("/generations/7")
    load("common", tree / "__init__.py")
    loaded.look()
    load("common.calm", tree / "calm.py")
    loaded.look()
    assert loaded.replaced == ()
    (tree / "__init__.py").write_text("RATE = 1.5\n")
    load("common.late", tree / "late.py")
    assert loaded.look()
    assert loaded.replaced == (f"common.late={tree}/late.py",)


def test_what_lies_in_the_generation_never_changes(site: Path, load: Load) -> None:
    loaded = Loaded(str(site.parent))
    load("numpy", site / "numpy/__init__.py")
    loaded.look()
    (site / "numpy-1.26.4.dist-info/RECORD").write_text("numpy/core.py,sha256=other,1\n")
    load("numpy.core", site / "numpy/core.py")
    loaded.look()
    assert loaded.replaced == ()


def test_what_a_child_imports_is_known_to_its_parent_once_its_task_is_over(site: Path, load: Load) -> None:
    children = Children()
    load("numpy", site / "numpy/__init__.py")
    children.tell()
    assert children.read() == [], "the parent sees its own modules"
    children.forking()
    children._parent = 0  # as if this were a child
    children.tell()
    assert children.read() == [], "the child has what its parent had"
    load("late", site / "late.py")
    load("odd\nname", site / "odd\n.py")
    children.tell()
    children.tell()
    assert children.read() == [("late", f"{site}/late.py")]
    assert children.read() == []


def test_what_children_tell_takes_little_room_however_many_there_are(site: Path, load: Load) -> None:
    children = Children()
    children._parent = 0
    for number in range(3000):
        load(f"module{number}", site / f"{'x' * 60}{number}.py")
        children.tell()
        if number % 100 == 99:
            assert len(children.read()) == 100
    assert children._read < 1 << 16


def test_the_live_folders_and_libraries_are_none_of_the_generation(tmp_path: Path) -> None:
    told = live(str(tmp_path))
    assert any("/libc" in path for path in told["libraries"])
    assert any(folder.endswith("/bin") for folder in told["folders"])
    assert live("/")["folders"] == live("/")["libraries"] == []
