#!/usr/bin/env bash
# Makes a virtual environment with the package (editable), its test tools and its linters.
# Usage: make-venv.sh DIRECTORY   (PYTHON names the interpreter, python3 by default)
set -euo pipefail
venv="$1"
python="${PYTHON:-python3}"

apt_install() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: please install: $*" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=400 update -qq
    apt-get -o DPkg::Lock::Timeout=400 install -y -qq --no-install-recommends "$@"
}

if ! command -v "$python" >/dev/null; then
    apt_install python3 python3-venv ca-certificates
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $("$python" --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2
    exit 1
fi
# Debian splits ensurepip off; without it a virtual environment has no pip.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install python3-venv
fi

"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
