#!/usr/bin/env bash
# Installs what podloom needs on Debian 12+ or Ubuntu 24.04+: packages, kubectl, the virtual environment. Idempotent.
# With `tests` as argument also the programs that the tests look from outside with. A user who is not root needs only what
# builds the environment; tests that want the rest then skip and name it.
set -euo pipefail
cd "$(dirname "$0")/.."

BUILD_PACKAGES="python3-venv gcc libc6-dev"
LAB_PACKAGES="containerd runc nftables containernetworking-plugins busybox-static nginx iproute2 ca-certificates"
TEST_PACKAGES="curl procps"
KUBECTL_MINOR=31 # the first whose exec and port-forward use websockets by default

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

missing_packages() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
    done
}

missing_lab_packages() {
    local missing
    missing=$(missing_packages $LAB_PACKAGES "$@")
    # Docker's own containerd.io conflicts with the distribution's containerd and does as well.
    if command -v containerd >/dev/null && command -v runc >/dev/null; then
        missing=$(echo "$missing" | grep -vx -e containerd -e runc || true)
    fi
    echo "$missing"
}

# Installed services must not start: the lab runs containerd and nginx by itself, in its nodes.
with_services_held() {
    local policy=/usr/sbin/policy-rc.d status=0
    [ ! -e "$policy" ] || { "$@"; return; }
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    "$@" || status=$?
    rm -f "$policy"
    trap - EXIT
    return $status
}

apt_install() {
    # A fresh machine may be upgrading itself in the background: wait for its lock.
    apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
}

install_packages() {
    local build lab
    command -v apt-get >/dev/null || fail "only Debian 12+ and Ubuntu 24.04+ are known here (there is no apt-get)." \
        "Elsewhere install by hand: Python 3.11+ with venv, cc and a static C library, containerd, runc, nftables, the" \
        "CNI reference plugins, static busybox, nginx, iproute2 and kubectl 1.$KUBECTL_MINOR+; then run" \
        "'python3 -m venv .venv && .venv/bin/pip install -e . --group dev'"
    build=$(missing_packages $BUILD_PACKAGES)
    lab=$(missing_lab_packages "$@")
    [ -n "$build$lab" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        [ -z "$build" ] || fail "packages are missing that only root can install. Run:" \
            sudo apt-get install $build
        say "going on without" $lab "- the lab, and tests that need it, want them and root: sudo apt-get install" $lab
        return 0
    fi
    say "installing packages:" $build $lab
    export DEBIAN_FRONTEND=noninteractive
    # A list that cannot be read, of a source that has nothing to do with us, is no reason to stop.
    apt-get -o DPkg::Lock::Timeout=300 update -qq || say "not every package list could be read; going on with the others"
    with_services_held apt_install $build $lab || fail "apt-get could not install" $build $lab \
        "(its reason is above). Check that 'apt-get update' works and that the distribution's main component (on Ubuntu" \
        "universe too) is in its sources, then run this again"
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

# The mirror this machine already uses; cloud images keep it in a list of its own.
debian_mirror() {
    grep -rhoE 'https?://[^ ]+/debian/?([[:space:]]|$)' /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/mirrors 2>/dev/null |
        tr -d '[:blank:]' | sort -u | sed -n 1p
}

# Debian 13's kubectl is one static program. It is taken out of its package, from a source list of its own, so that
# nothing of an older system is upgraded.
kubectl_from_debian_13() {
    local work=$1 mirror
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || return 1
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$work/sources.list"
    local options="-o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$work/lists -o Dir::Cache=$work -o APT::Sandbox::User=$(id -un)"
    apt-get $options update -qq || return 1
    (cd "$work" && apt-get $options download -qq kubectl) || return 1
    dpkg -x "$work"/kubectl_*.deb "$work/root" || return 1
    install -m 755 "$work/root/usr/bin/kubectl" .venv/bin/kubectl
}

install_kubectl() {
    local work installed=
    if good_kubectl .venv/bin/kubectl || good_kubectl kubectl; then return; fi
    say "installing kubectl"
    work=$(mktemp -d)
    if kubectl_from_debian_13 "$work"; then installed=1; fi
    rm -rf "$work"
    [ -z "$installed" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v snap >/dev/null && snap install kubectl --classic && good_kubectl /snap/bin/kubectl; then
        ln -sf /snap/bin/kubectl .venv/bin/kubectl # a shell that was open before has no /snap/bin on its path
        return
    fi
    say "kubectl 1.$KUBECTL_MINOR or newer is wanted and could not be installed: put one on PATH, for example by" \
        "'snap install kubectl --classic', and run this again"
    [ "$(id -u)" != 0 ] || exit 1
}

find_python() {
    # The system's own interpreter first: one under a version manager starts through a slow shim.
    for candidate in /usr/bin/python3 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
    fail "Python 3.11 or newer with its venv module is wanted: Debian 12 and Ubuntu 24.04 have it in python3-venv"
}

# Made here and by a Python that is still there: the scripts of an environment that was moved or copied name another.
environment_usable() {
    grep -qsF "$PWD/.venv/bin/python" .venv/bin/pip && .venv/bin/python -c 'import pip' 2>/dev/null
}

environment_current() {
    local stamp=.venv/installed
    [ -e "$stamp" ] && environment_usable && [ -z "$(find pyproject.toml build_native.py relay tools -newer "$stamp")" ]
}

pip_setting() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }

# uv does not read pip's settings: a user's mirror and authority are told to it.
uv_install() {
    local index=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-$(pip_setting index-url)}}}
    local cert=${SSL_CERT_FILE:-${PIP_CERT:-$(pip_setting cert)}}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    [ -z "$cert" ] || export SSL_CERT_FILE="$cert"
    # The cache is inside the environment, so that removing it leaves nothing.
    UV_CACHE_DIR="$PWD/.venv/cache" UV_COMPILE_BYTECODE=1 .venv/bin/uv pip install -q --python .venv/bin/python "$@"
}

install_environment() {
    local python
    if environment_current; then return; fi
    say "installing the Python environment"
    if ! environment_usable; then
        python=$(find_python)
        "$python" -m venv --clear .venv || fail "the environment could not be made in $PWD/.venv (the reason is above)"
    fi
    [ -x .venv/bin/uv ] || .venv/bin/python -m pip install -q --no-cache-dir --disable-pip-version-check uv ||
        fail "pip could not install uv (its reason is above). Check that this machine reaches its Python package index" \
            "(a proxy or a mirror is set by HTTPS_PROXY or 'pip config'), then run this again"
    uv_install --reinstall-package podloom -e . --group dev ||
        fail "the Python packages of pyproject.toml could not be installed (the reason is above); check that this machine" \
            "reaches its Python package index and has a C compiler, then run this again"
    touch .venv/installed
}

case "${1:-}" in
tests) install_packages $TEST_PACKAGES ;;
"") install_packages ;;
*) fail "usage: install.sh [tests]" ;;
esac
install_environment
install_kubectl
