#!/usr/bin/env bash
# Leaves nothing of ours on the machine: the lab with its state, then what was built here. Installed packages stay.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

lab_file="${PODLOOM_STATE:-/var/lib/podloom/lab}/lab.json"
if [ -x .venv/bin/podloom ]; then
    .venv/bin/podloom lab down --purge --yes -o none
elif [ -e "$lab_file" ]; then
    say "there is a lab ($lab_file) and no .venv/bin/podloom to stop it: run 'make install', then 'make clean'"
    exit 1
fi

# Every process of a lab, this one or another, carries the marker.
a_lab_runs() { grep -lsq PODLOOM_PROCESS= /proc/[0-9]*/environ; }

# Folders that exist only as mount points of nodes, and the mount that network namespaces need. They are taken away
# only when empty and no package's: another lab, or a container runtime of this machine, may use them.
remove_empty_folders() {
    local folder
    for folder in /opt/cni/bin /opt/cni /opt/containerd/bin /opt/containerd/lib /opt/containerd /etc/cni /etc/kubernetes \
        /etc/containerd /var/lib/cni /var/lib/kubelet /var/lib/containerd /var/log/pods /var/log/containers /var/lib/podloom; do
        [ -d "$folder" ] && ! dpkg-query -S "$folder" >/dev/null 2>&1 || continue
        rmdir "$folder" 2>/dev/null || true
    done
    if [ -d /run/netns ] && [ -z "$(ls -A /run/netns)" ]; then
        umount /run/netns 2>/dev/null || true
        rmdir /run/netns 2>/dev/null || true
    fi
}

if [ "$(id -u)" = 0 ] && ! a_lab_runs; then remove_empty_folders; fi

for source in relay/*.c tools/*.c; do rm -f "src/podloom/native/$(basename "$source" .c)"; done
find . -name __pycache__ -type d -prune -exec rm -rf {} +
rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
