#!/bin/sh
# See that the model checker is here: Debian's package, where that can be installed without asking.
# Never a failure: the tests of tests/models say what they lack, and fail themselves under CI=true.
set -eu
command -v spin >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    install() { apt-get install -y --no-install-recommends spin >/dev/null; }
    if install 2>/dev/null || { apt-get update >/dev/null && install; }; then exit 0; fi
    echo "apt-get could not install spin: the models are not searched" >&2
else
    echo "spin is not here, and only root with apt-get installs it: the models are not searched" >&2
fi
