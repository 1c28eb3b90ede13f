#!/bin/bash
# Build trapd_VERSION-REVISION_ARCHITECTURE.deb from this checkout, into a folder: bash systemd/debian/build.sh dist
# Needs Debian's python3-venv, and root or the right to make namespaces. From the environment: REVISION (default 1).
#
# The package contains a virtual environment, which works only at the path where it was made. So the script makes it at
# /opt/trapd, in a mount namespace: this machine's own /opt is neither read nor changed.
set -euo pipefail
umask 022
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "${1:?usage: build.sh FOLDER}"
folder=$(cd "$1" && pwd)
python=$(readlink -f /usr/bin/python3) # /usr/bin/python3.11: the package depends on this version
"$python" -c 'import ensurepip, venv' || { echo "install Debian's python3-venv first" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/source" "$work/tree"
tar -C "$root" -c --exclude=__pycache__ setup.cfg pyproject.toml README.md CHANGELOG.md trapd systemd etc docs/man docs/systemd.md |
    tar -C "$work/source" -x
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat --format=%Y "$root/CHANGELOG.md")}"
export SOURCE_DATE_EPOCH

"$python" -m venv "$work/tools"
# PEP 517 for packages that come as source only: without it, this pip would need Debian's python3-wheel.
"$work/tools/bin/python" -m pip wheel --quiet --disable-pip-version-check --use-pep517 --wheel-dir "$work/wheels" \
    "$work/source"

# A user other than root becomes root in a user namespace, which is enough for the mounts.
namespace=(unshare --mount --propagation private)
[ "$(id -u)" -eq 0 ] || namespace=(unshare --mount --map-root-user)
"${namespace[@]}" env --chdir=/ PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= bash -euo pipefail -s "$work" "$python" <<'END'
work=$1 python=$2
mkdir -p "$work/tree/opt/trapd"
mount -t tmpfs tmpfs /opt
mkdir /opt/trapd
mount --bind "$work/tree/opt/trapd" /opt/trapd
"$python" -m venv --without-pip /opt/trapd
"$work/tools/bin/python" -m pip --python /opt/trapd/bin/python --quiet --disable-pip-version-check \
    install --no-index --find-links "$work/wheels" --no-compile --root-user-action=ignore trapd
# Without time stamps, which a package may change: the files that dpkg unpacks always belong together.
/opt/trapd/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/trapd/lib
rm /opt/trapd/bin/[Aa]ctivate*
/opt/trapd/bin/python -B "$work/source/systemd/debian/stage.py" "$work/tree" "$work/source"
END

dpkg-deb --root-owner-group --build "$work/tree" "$folder"
