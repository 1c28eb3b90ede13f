# Runs in a mount namespace of its own, so that nothing is left mounted on the host, whatever happens to the tests.
# BASE: a scratch folder; NAME: the machine's; CGROUP: the name of its cgroups; SIZE: of its disk; ROOT: of a Debian, "/"
# for this machine's own; INIT: what its PID 1 is given as arguments. Arguments: for nspawn.
set -eu

# A cgroup of its own in every hierarchy: with --keep-unit nspawn would put every machine into /payload, where two
# systemds would manage, and kill, the same cgroups.
while IFS=: read -r _ names path; do
    case $names in
        '') dir=/sys/fs/cgroup/unified; [ -d "$dir" ] || dir=/sys/fs/cgroup ;;
        name=*) dir=/sys/fs/cgroup/${names#name=} ;;
        cpuset) continue ;;
        *) dir=/sys/fs/cgroup/$names ;;
    esac
    [ -d "$dir" ] || continue
    top=${dir}${path%/}/$CGROUP
    mkdir -p "$top"
    echo "$top" >>"$BASE/cgroups"
    echo $$ >"$top/cgroup.procs"
done </proc/self/cgroup

mkdir -p /run/systemd/nspawn # nspawn's own records: two sessions may use one name
mount -t tmpfs tmpfs /run/systemd/nspawn

# The machine's disk: what Debian's packages brought to that root, and nothing that people put there.
mount -t tmpfs -o "size=$SIZE,mode=0755" tmpfs "$BASE/disk"
mkdir -p "$BASE/disk/upper/usr" "$BASE/disk/work"
cd "$ROOT"
for top in * usr/local; do
    case $top in
        bin | boot | dev | etc | lib* | proc | run | sbin | sys | tmp | usr | var) ;;
        *) mknod "$BASE/disk/upper/$top" c 0 0 ;; # overlayfs: hides the one below
    esac
done
mount -t overlay -o "lowerdir=$ROOT,upperdir=$BASE/disk/upper,workdir=$BASE/disk/work" overlay "$BASE/root"
cd "$BASE/root"
mkdir home media mnt opt srv usr/local usr/local/bin usr/local/sbin usr/local/lib
mkdir -m 0700 root
rm -rf etc/systemd/system/*.wants var/log/journal etc/hostname var/lib/systemd/random-seed
rm -f usr/sbin/policy-rc.d .dockerenv # a container's way to keep packages from starting their services
mkdir -p var/log/journal
cp "$BASE/machine-id" etc/machine-id
cp "$BASE/hosts" etc/hosts
for unit in systemd-networkd-wait-online systemd-resolved systemd-timesyncd systemd-pstore console-getty \
    systemd-update-utmp-runlevel; do
    ln -sfn /dev/null "etc/systemd/system/$unit.service"
done
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim man-db; do
    ln -sfn /dev/null "etc/systemd/system/$timer.timer"
done
rm -f var/lib/man-db/auto-update # else each package that is installed has all manual pages indexed: 2 s of work
[ ! -d "$BASE/seed" ] || cp -a "$BASE/seed/." .
[ ! -s "$BASE/prepare.sh" ] || chroot . /bin/sh -eu <"$BASE/prepare.sh"
cd /

# nspawn ends with 133 when the machine reboots. Its disk lasts as long as this shell.
stop=
trap 'stop=1; kill -TERM "$nspawn" 2>/dev/null || :' TERM
while :; do
    setpriv --pdeathsig KILL systemd-nspawn --quiet --register=no --keep-unit --notify-ready=yes --console=pipe \
        --resolv-conf=off --timezone=off --link-journal=no -D "$BASE/root" -M "$NAME" "$@" -b $INIT &
    nspawn=$!
    code=0
    wait "$nspawn" || code=$?
    while kill -0 "$nspawn" 2>/dev/null; do # the trap had interrupted the wait
        code=0
        wait "$nspawn" || code=$?
    done
    [ -z "$stop" ] || exit 0
    if [ -e "$BASE/again" ]; then
        rm "$BASE/again"
    elif [ "$code" -ne 133 ]; then
        exit "$code"
    fi
done
