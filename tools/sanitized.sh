#!/bin/sh
# Run tests on a build that is watched: sanitized.sh address,undefined|thread|memcheck [ARGUMENTS]
#
# --self-test: only see that errors made on purpose are reported; else pytest's arguments, in place of
# the tests that are run by default. Which these are, and what is not run and why, stands in
# tests/sanitized/tools.py; docs/sanitizers.md says what each of the three sees.
# The tree is copied to build/sanitized and built there, so that no instrumented module ever lies where
# an ordinary test would import it.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
case ${1:-} in
    address,undefined) name=asan; sanitize=$1 ;;
    thread) name=tsan; sanitize=$1 ;;
    memcheck) name=memcheck; sanitize= ;;
    *) sed -n 's/^# \(Run tests.*\)/\1/p' "$0" >&2; exit 2 ;;
esac
shift
copy=$root/build/sanitized/$name
venv=$root/.venv-$name
cc=${CC:-gcc}
export CC="$cc"
python=${PYTHON:-python3}
if [ "$name" = memcheck ]; then
    command -v valgrind >/dev/null || {
        echo "There is no valgrind here: apt-get install valgrind, or your system's package" >&2
        exit 1
    }
    # Before 3.12 the interpreter multiplies a digit that nobody wrote by 0 whenever it makes a 0 from
    # bytes, and each use of that 0 is reported, ours too: no suppression can tell them apart.
    python=$(sh tools/find_python.sh 3.12 || sh tools/find_python.sh 3.13) || {
        echo "memcheck needs Python 3.12 or 3.13, which is not here" >&2
        exit 1
    }
fi

# What was built in the copy stays, and is built anew only where the sources changed: they keep their
# times. What is gone from the tree goes from the copy.
mkdir -p "$copy"
rm -rf "$copy/tests" "$copy/docs" "$copy/examples" "$copy/tools" "$copy/benchmarks"
if [ -d "$copy/shmqueue" ]; then find "$copy/shmqueue" -type f ! -name '*.so' -delete; fi
tar -cf - --exclude='*.so' --exclude=__pycache__ --exclude='shmqueue/*.c' \
    shmqueue tests tools docs examples benchmarks setup.py pyproject.toml Makefile README.md \
    CHANGELOG.md LICENSE MANIFEST.in | tar -xf - -C "$copy"

# For valgrind without optimisation: it finds more where the compiler threw less away.
debug=
if [ "$name" = memcheck ]; then debug=1; fi
make --no-print-directory -C "$copy" build VENV="$venv" EXTRAS=test \
    PYTHON="$python" SHMQUEUE_SANITIZE="$sanitize" SHMQUEUE_DEBUG="$debug"

# As the extension is compiled.
flags="-std=gnu11 -g -O1 -fno-omit-frame-pointer"
if [ -n "$sanitize" ]; then flags="$flags -fsanitize=$sanitize"; fi
# shellcheck disable=SC2086
$cc $flags -shared -fPIC -o "$copy/build/planted.so" "$copy/tests/sanitized/planted.c" -lpthread

reports=${SHMQUEUE_REPORTS:-$root/docs/reports}
case $reports in /*) ;; *) reports=$root/$reports ;; esac
cd "$copy"
SHMQUEUE_REPORTS=$reports exec "$venv/bin/python" -m tests.sanitized "$name" "$@"
