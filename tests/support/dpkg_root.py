"""A root folder for a real dpkg, which then needs no machine: a package that brings the application's virtual
environment."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.support.site_packages import install
from trapd.watch.distributions import locate
from trapd.watch.dpkg import Dpkg
from trapd.watch.installers import Installers
from trapd.watch.sites import scan

PATIENCE = 60.0  # s
SITE = "opt/held/lib/python3.11/site-packages"
QUESTION = "etc/asks.conf"


class Root:
    """The root folder of a machine on which dpkg installs."""

    def __init__(self, home: Path) -> None:
        self.home, self.path = home, home / "root"
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
            (self.path / folder).mkdir(parents=True)
        (self.path / "var/lib/dpkg/status").touch()
        self.site = self.path / SITE
        self.question: subprocess.Popen[bytes] | None = None

    def package(
        self, name: str, version: str, files: dict[str, str], *, asks: bool = False, postinst: str = ""
    ) -> Path:
        """``asks``: with a configuration file, about which dpkg asks if somebody changed the one of before."""
        tree = self.home / f"{name}-{version}"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@t>\nDescription: t\n"
        texts = {**files, "DEBIAN/control": control}
        if asks:
            texts |= {QUESTION: f"version = {version}\n", "DEBIAN/conffiles": f"/{QUESTION}\n"}
        if postinst:
            texts["DEBIAN/postinst"] = postinst
        for path, text in texts.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        if postinst:
            (tree / "DEBIAN/postinst").chmod(0o755)
        package = self.home / f"{tree.name}.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True)
        return package

    def held(self, version: str, *, asks: bool = False, modules: int = 2, postinst: str = "") -> Path:
        """A package with an environment of its own, as dh-virtualenv makes them."""
        wheel = self.home / f"wheel-{version}/site-packages"
        install(
            wheel, "held", version, {f"held/m{n}.py": f"V = {version!r}\n" for n in range(modules)}, requires=["depa"]
        )
        install(wheel, "depa", version, {f"depa/m{n}.py": f"V = {version!r}\n" for n in range(modules)})
        files = {f"{SITE}/{file.relative_to(wheel)}": file.read_text() for file in wheel.rglob("*") if file.is_file()}
        return self.package("held", version, files, asks=asks, postinst=postinst)

    def dpkg(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """It may ask, and nobody answers: ``communicate`` with it, in the end."""
        command = ["dpkg", "--force-not-root", "--force-unsafe-io", f"--root={self.path}", *map(str, arguments)]
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )

    def run(self, *arguments: str | Path) -> None:
        process = self.dpkg(*arguments)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0

    def ask(self, before: Path, after: Path) -> None:
        """Leave a dpkg waiting at its question: ``question``, until ``end_question``."""
        self.run("--install", before)
        (self.path / QUESTION).write_text("mine\n")
        self.question = self.dpkg("--install", after)
        deadline = time.monotonic() + PATIENCE
        while not (self.path / f"{QUESTION}.dpkg-new").exists() or not self.waits(self.question):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end_question(self) -> None:
        if self.question is not None:
            self.question.kill()
            self.question.communicate()
            self.question = None

    @staticmethod
    def waits(process: subprocess.Popen[bytes]) -> bool:
        """Whether it reads the answer: without a child, since it reads files from one while it unpacks."""
        proc = Path(f"/proc/{process.pid}")
        children = (proc / f"task/{process.pid}/children").read_bytes()
        return not children and b"read" in (proc / "wchan").read_bytes()

    def reason(self) -> str:
        sites = scan([str(self.site)])
        found = locate("held", sites, {})
        judge = Installers(dpkg=Dpkg(self.path)).judge
        return judge([found] if found else [], sites, {"held", "depa"}, prefix=str(self.path / "opt/held")).reason
