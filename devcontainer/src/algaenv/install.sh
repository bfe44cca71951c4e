#!/bin/sh
# Installs algaenv into a virtual environment of its own, with its programs on PATH.
# Run as root while the image of a development container is built. Options come as variables:
# VERSION and EXTRAS, see devcontainer-feature.json. PREFIX is where it goes, /usr/local by default.
# Running it again replaces what it has installed.
set -eu

version=${VERSION:-latest}
extras=${EXTRAS-embedded}
prefix=${PREFIX:-/usr/local}
home=$prefix/share/algaenv

fail() {
    echo "algaenv: $1" >&2
    echo "  hint: $2" >&2
    exit 1
}

case $extras in
*[!a-z,]*) fail "cannot use the extras '$extras'" "write names with commas, such as embedded,mcp" ;;
esac
version_ok=yes
case $version in
*/*) ;; # A path or a URL.
*[!0-9a-z.+]*) version_ok=no ;;
latest | [0-9]*) ;;
*) version_ok=no ;;
esac
if [ "$version_ok" = no ]; then
    fail "cannot use the version '$version'" \
        "write latest, a version such as 0.1.0, or the path or URL of a wheel"
fi

if [ -e /etc/alpine-release ]; then
    fail "cannot be installed on Alpine Linux: its database and runtime come for glibc only" \
        "take an image of Debian or Ubuntu, such as mcr.microsoft.com/devcontainers/base:bookworm"
fi

# True if $1 is a Python that algaenv runs on, with what makes virtual environments.
usable() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

python=
for candidate in ${PYTHON:-} /usr/local/python/current/bin/python3 python3 python3.13 python3.12 python3.11; do
    if usable "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates >/dev/null
    rm -rf /var/lib/apt/lists/*
    if usable python3; then python=python3; fi
fi
if [ -z "$python" ]; then
    fail "cannot find Python 3.11 or newer with its venv module" \
        "add the feature ghcr.io/devcontainers/features/python:1, or take a newer base image"
fi

package=algaenv${extras:+[$extras]}
case $version in
latest) requirement=$package ;;
*://*) requirement="$package @ $version" ;;
*/*)
    [ -f "$version" ] || fail "cannot find the wheel $version" "name a file, or a URL"
    requirement="$version${extras:+[$extras]}"
    ;;
*) requirement="$package==$version" ;;
esac

echo "installing $requirement into $home"
mkdir -p "$prefix/bin" "$prefix/share" ||
    fail "cannot write to $prefix" "run it as root, or name another place with PREFIX"
rm -rf "$home"
"$python" -m venv "$home"
"$home/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check "$requirement" ||
    fail "cannot install $requirement" "look above for what pip says; the version may not exist"
for program in algaenv algaenv-runner algaenv-gateway; do
    ln -sf "$home/bin/$program" "$prefix/bin/$program"
done
# Readable by the user that the container runs as, whatever the umask of the build is.
chmod -R a+rX "$home"

completions=$prefix/share/bash-completion/completions
mkdir -p "$completions"
"$prefix/bin/algaenv" completion bash >"$completions/algaenv"
chmod a+r "$completions/algaenv"

"$prefix/bin/algaenv" --version
