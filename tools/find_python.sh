#!/bin/sh
# Print a working interpreter of the version "$1" (3.12): on PATH, or one of pyenv's. Exit 1 if none.
# A pyenv shim may stand on PATH for a version that is switched off, so each candidate is run.
for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1/bin/python"; do
    if "$python" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$1" 2>/dev/null; then
        "$python" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
exit 1
