#!/bin/sh
# Builds the package once more, under build/fuzz, with coverage of its compiled code, and runs the
# fuzzer on that: sh tools/fuzz.sh [arguments of tests.hostile.fuzz]
#
# No clang is needed: tests/hostile/coverage.c turns the calls of gcc's coverage into what libFuzzer
# looks at. There are wheels of atheris for CPython 3.11 and later: PYTHON names such a one, VENV
# where to install it.
set -eu

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv-fuzz}
BUILD=build/fuzz

if [ ! -x "$VENV/bin/python" ]; then "$PYTHON" -m venv "$VENV"; fi
pip="$VENV/bin/python -m pip --disable-pip-version-check --quiet --require-virtualenv install"
$pip "setuptools>=77" "Cython>=3.1,<4" "cloudpickle>=3.0" "numpy>=1.26,<3"
$pip --only-binary atheris "atheris>=3,<4" || {
    echo "fuzz: there is no wheel of atheris for $("$VENV/bin/python" --version); take another" \
        "CPython by PYTHON=python3.12, say" >&2
    exit 1
}

mkdir -p "$BUILD"
rm -rf "$BUILD/shmqueue.new"
cp -Rp shmqueue "$BUILD/shmqueue.new"
rm -f "$BUILD"/shmqueue.new/*.so
# Those that were built before are kept: they are made anew only when a source is.
if [ -d "$BUILD/shmqueue" ]; then cp -p "$BUILD"/shmqueue/*.so "$BUILD/shmqueue.new/" 2>/dev/null || :; fi
rm -rf "$BUILD/shmqueue"
mv "$BUILD/shmqueue.new" "$BUILD/shmqueue"
cp -p setup.py pyproject.toml README.md LICENSE "$BUILD/"
ln -sfn "$(pwd)/tests" "$BUILD/tests"

python=$(pwd)/$VENV/bin/python
cc -O2 -Wall -shared -fPIC -o "$BUILD/coverage.so" tests/hostile/coverage.c
cd "$BUILD"
CFLAGS="-fsanitize-coverage=trace-pc,trace-cmp" "$python" setup.py --quiet build_ext --inplace
SHMQUEUE_COVERAGE=$(pwd)/coverage.so
export SHMQUEUE_COVERAGE
# What the modules call must be there before they are loaded.
LD_PRELOAD=$SHMQUEUE_COVERAGE exec "$python" -m tests.hostile.fuzz "$@"
