"""Put everything but the virtual environment into the tree that becomes the package: stage.py TREE SOURCE

build.sh runs this script on the interpreter of that virtual environment, in which trapd is installed. From the
environment: REVISION of the package, SOURCE_DATE_EPOCH, and DEBFULLNAME and DEBEMAIL as Debian's own tools use them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions, metadata
from pathlib import Path

from trapd import __version__
from trapd.ctl import shipped
from trapd.ctl.placing import Placing
from trapd.units import layout
from trapd.units.layout import Placed
from trapd.units.render import fill

BINDIR = Path("/opt/trapd/bin")
DOC = shipped.PACKAGE["doc"]
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
EXAMPLE = "etc/celeryconfig-embedded.py"
MAINTAINER = f"{os.environ.get('DEBFULLNAME', 'trapd')} <{os.environ.get('DEBEMAIL', 'trapd@localhost')}>"


def main(tree: Path, source: Path) -> None:
    version = f"{debian_version(__version__)}-{os.environ.get('REVISION', '1')}"
    place(Placing(tree, lambda line: None), source, version)
    for path in [*(tree / "usr/share/man").rglob("*.[1-8]"), *(tree / DOC.relative_to("/")).glob("changelog*")]:
        compress(path)
    control(tree, source / "systemd/debian", version)


def debian_version(version: str) -> str:
    """Return the version as Debian writes it, a pre-release with a tilde: 1.0rc1 is 1.0~rc1, 1.0.dev3 is 1.0~dev3."""
    return re.sub(r"\.?(a|b|rc|dev)(?=\d)", r"~\1", version)


def place(placing: Placing, source: Path, version: str) -> None:
    """Put every file that lies outside /opt."""
    for file in shipped.files(source, BINDIR, shipped.PACKAGE):
        placing.put(file)
    for link in shipped.links(BINDIR, shipped.PACKAGE):
        placing.link(link)
    for path, name, _, mode in layout.CONFIGURATION:
        placing.put(Placed(path, (source / name).read_text("utf-8"), mode))
    documents = {
        "copyright": copyrights((source / "systemd/debian/copyright").read_text("utf-8")),
        "changelog": (source / "CHANGELOG.md").read_text("utf-8"),
        "changelog.Debian": changelog(version),
        f"examples/{Path(EXAMPLE).name}": (source / EXAMPLE).read_text("utf-8"),
    }
    for name, text in documents.items():
        placing.put(Placed(DOC / name, text, 0o644))


def changelog(version: str) -> str:
    seconds = f"-d@{os.environ['SOURCE_DATE_EPOCH']}"
    date = subprocess.run(["date", "-uR", seconds], capture_output=True, text=True, check=True).stdout.strip()
    head = f"trapd ({version}) unstable; urgency=medium"
    return f"{head}\n\n  * Built from trapd {__version__}; see changelog.gz.\n\n -- {MAINTAINER}  {date}\n"


def copyrights(own: str) -> str:
    """Return trapd's own copyright, and that of each distribution that is packed with trapd, from its metadata."""
    packed = [distribution for distribution in distributions() if distribution.name != "trapd"]
    packed.sort(key=lambda distribution: distribution.name.lower())
    return "\n".join([own, *map(copyright_of, packed)])


def copyright_of(distribution: Distribution) -> str:
    fields, name = distribution.metadata, distribution.name
    classified = [
        line.rpartition(" :: ")[2] for line in fields.get_all("Classifier", []) if line.startswith("License ::")
    ]
    licence = fields.get("License-Expression") or ", ".join(classified) or fields.get("License", "").partition("\n")[0]
    holder = fields.get("Author") or fields.get("Author-email") or "its authors"
    folder = re.sub(r"[^A-Za-z0-9.]+", "_", name)
    return (
        f"Files: opt/trapd/lib/python3*/site-packages/{folder}*\nCopyright: {holder}\nLicense: {licence or 'unknown'}\n"
        f"Comment: {name} {distribution.version}; its licence is in its .dist-info folder\n"
    )


def compress(path: Path) -> None:
    with path.with_name(f"{path.name}.gz").open("wb") as out, gzip.GzipFile("", "wb", 9, out, mtime=0) as packed:
        packed.write(path.read_bytes())
    path.unlink()


# --- DEBIAN/ --------------------------------------------------------------------------------------------------------


def control(tree: Path, source: Path, version: str) -> None:
    """Write the files that dpkg itself reads. Call this last: it counts and sums the files of the tree."""
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    configuration = [f"/{path.relative_to(tree)}" for path in files if path.is_relative_to(tree / "etc")]
    sums = {str(path.relative_to(tree)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}
    values: Mapping[str, str] = {
        "version": version,
        "architecture": output("dpkg", "--print-architecture"),
        "maintainer": MAINTAINER,
        "size": str(sum(-(-path.stat().st_size // 1024) for path in files)),
        "python": Path(sys.executable).resolve().name,  # the virtual environment works with this version alone
        "summary": metadata("trapd")["Summary"],
    }
    folder = tree / "DEBIAN"
    folder.mkdir()
    texts = {
        "control": fill((source / "control.in").read_text("utf-8"), values),
        "triggers": (source / "triggers").read_text("utf-8"),
        "conffiles": "".join(f"{path}\n" for path in configuration),
        "md5sums": "".join(f"{digest}  {name}\n" for name, digest in sums.items() if f"/{name}" not in configuration),
        **{name: (source / name).read_text("utf-8") for name in SCRIPTS},
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o755 if name in SCRIPTS else 0o644)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
