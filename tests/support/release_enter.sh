# Runs in a mount namespace of its own: ROOT NUMBER FOLDER... COMMAND...; the command sees NUMBER folders of this machine.
set -eu
root=$1 number=$2
shift 2
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
while [ "$number" -gt 0 ]; do
    there=/mnt/root$1
    rm -f "$there" 2>/dev/null || : # a link would lead back to this machine's own file
    if [ -d "$1" ]; then
        mkdir -p "$there"
    else
        mkdir -p "${there%/*}"
        : >"$there"
    fi
    mount --rbind "$1" "$there"
    number=$((number - 1))
    shift
done
exec chroot /mnt/root "$@"
