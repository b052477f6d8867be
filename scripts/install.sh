#!/usr/bin/env bash
# Installs what podloom needs on Debian 12+ or Ubuntu 24.04+: packages, kubectl, the virtual environment. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES="python3-venv gcc libc6-dev containerd runc nftables libnftables1 containernetworking-plugins busybox-static
nginx-light iproute2 ca-certificates"
KUBECTL_MINOR=31 # the first whose exec and port-forward use websockets by default

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

missing_packages() {
    for package in $PACKAGES; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
    done
}

install_packages() {
    local missing
    missing=$(missing_packages)
    # Docker's own containerd.io conflicts with the distribution's containerd and does as well.
    if command -v containerd >/dev/null && command -v runc >/dev/null; then
        missing=$(echo "$missing" | grep -vx -e containerd -e runc || true)
    fi
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || { say "these packages are missing, and only root can install them:" $missing; exit 1; }
    say "installing packages:" $missing
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Installed services must not start: the lab runs containerd and nginx by itself, in its nodes.
    local policy=/usr/sbin/policy-rc.d made=
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=1; }
    trap '[ -z "'"$made"'" ] || rm -f '"$policy" EXIT
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
    [ -z "$made" ] || rm -f "$policy"
    trap - EXIT
}

kubectl_minor() {
    "$1" version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1
}

good_kubectl() {
    local minor
    command -v "$1" >/dev/null || return 1
    minor=$(kubectl_minor "$1")
    [ -n "$minor" ] && [ "$minor" -ge "$KUBECTL_MINOR" ]
}

# Debian 13's kubectl is one static program. It is taken out of its package, from a source list of its own, so that
# nothing of an older system is upgraded.
kubectl_from_debian_13() {
    local work mirror
    mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 | tr -d ' ')
    [ -n "$mirror" ] || return 1
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$work/sources.list"
    local options="-o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$work/lists -o Dir::Cache=$work -o APT::Sandbox::User=root"
    apt-get $options update -qq && (cd "$work" && apt-get $options download -qq kubectl) || { rm -rf "$work"; return 1; }
    dpkg -x "$work"/kubectl_*.deb "$work/root"
    install -m 755 "$work/root/usr/bin/kubectl" .venv/bin/kubectl
    rm -rf "$work"
}

install_kubectl() {
    if good_kubectl .venv/bin/kubectl || good_kubectl kubectl; then return; fi
    say "installing kubectl"
    if kubectl_from_debian_13; then return; fi
    if command -v snap >/dev/null && snap install kubectl --classic; then return; fi
    say "kubectl 1.$KUBECTL_MINOR or newer is wanted and could not be installed: put one on PATH"
    exit 1
}

find_python() {
    # The system's own interpreter first: one under a version manager starts through a slow shim.
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
    say "Python 3.11 or newer is wanted"; exit 1
}

install_environment() {
    local stamp=.venv/installed
    [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
    if [ -e "$stamp" ] && ! find pyproject.toml build_native.py relay tools -newer "$stamp" | grep -q .; then return; fi
    say "installing the Python environment"
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip install -q --disable-pip-version-check uv
    UV_COMPILE_BYTECODE=1 .venv/bin/uv pip install -q --python .venv/bin/python -e . --group dev
    touch "$stamp"
}

install_packages
install_environment
install_kubectl
