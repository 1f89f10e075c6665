#!/usr/bin/env bash
# Makes system calls of a real process fail, or kills it at one, and looks at what is there afterwards.
#
# Needs strace (Debian and Ubuntu: apt-get install strace; Fedora: dnf install strace), and for the small disk root.
#
#   tests/strace_faults.sh order          calls of one run: log synced before each acknowledgement; manifests staged,
#                                         synced, linked, and their folder synced
#   tests/strace_faults.sh faults         one failing call per run: SEEDS=from..to are the runs of the list (default
#                                         0..200; the list holds every call of the script with every error; it is
#                                         shuffled, always in the same way)
#   tests/strace_faults.sh list           that list
#   tests/strace_faults.sh small-disk     a disk of 8 MiB is filled again and again in one handle: SEEDS=0..rounds
#                                         (default 0..100)
#
# LEDGER=file appends a row. JOBS=n runs so many at once (default: as many as there are cores).
# The script of steps, its child and its check are engine/tests/engine/processes/script.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v strace >/dev/null || {
    echo "strace is missing: install it, as the head of $0 says" >&2
    exit 1
}
# Built once; every run starts the binary itself.
binary=$(cargo test -q -p rustling-engine --test engine --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\/engine-[^"]*\)".*/\1/p')
work=$(mktemp -d -p "${TMPDIR:-/dev/shm}" strace-faults.XXXXXX)
mounted=""
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT
export binary work

# Calls on files, and what each is made to say. EINTR must not be noticed at all where a system can say so: not where
# a file is looked at or mapped.
calls="openat write pwrite64 fsync fdatasync linkat rename unlink ftruncate mkdir getdents64 pread64 statx mmap"
never_interrupted="statx mmap"
errors="EIO ENOSPC EINTR KILL"

child() {
    RUSTLING_CHILD="$1" timeout 60 "$binary" --exact processes::worker --nocapture --test-threads=1
}

# Runs the script in a folder under strace with some arguments; says how the child ended.
traced() {
    local folder=$1 thread="" code=0
    shift
    child "script $folder/db" >"$folder/said" 2>"$folder/errors" &
    local pid=$!
    while [ -z "$thread" ]; do
        thread=$(sed -n 's/^thread //p' "$folder/said" 2>/dev/null || true)
        kill -0 $pid 2>/dev/null || break
    done
    strace -o "$folder/trace" -p "$thread" "$@" 2>"$folder/strace" || true
    wait $pid || code=$?
    return $code
}

# One run: call, error, which of the calls. Prints a word for what became of it.
one() {
    local call=$1 error=$2 number=$3 code=0
    local folder="$work/$call-$error-$number"
    mkdir "$folder"
    local inject="$call:error=$error:when=$number"
    [ "$error" != KILL ] || inject="$call:signal=KILL:when=$number"
    traced "$folder" -e "trace=$call" -e "inject=$inject" || code=$?
    local expected=0
    # The shell that waits says 128 and the number of the signal.
    [ "$error" != KILL ] || expected=137
    local hit=missed
    ! grep -q 'INJECTED\|killed by SIGKILL' "$folder/trace" || hit=hit
    [ "$hit" = hit ] || expected=0
    local said
    said=$(grep -c '^\(refused\|unknown\)' "$folder/said" || true)
    if [ $code != $expected ]; then
        echo "violation $call $error $number: ended with $code: $(tail -n 3 "$folder/errors" | tr '\n' ' ')"
    elif [ "$error" = EINTR ] && grep -q '^\(refused\|unknown\|opening\|closed\)' "$folder/said"; then
        echo "violation $call $error $number: an interruption was noticed: $(grep -m1 '^\(refused\|unknown\|opening\|closed\)' "$folder/said")"
    elif ! child "check $folder/said $folder/db" >"$folder/check" 2>&1; then
        echo "violation $call $error $number: $(grep -m1 -A3 panicked "$folder/check" | tr '\n' ' ')"
    elif [ "$said" != 0 ]; then
        echo "$hit noticed"
    else
        echo "$hit unnoticed"
    fi
    rm -rf "$folder"
}
export -f one traced child

# Every call of one undisturbed run with every error, shuffled always in the same way.
list() {
    mkdir "$work/base"
    traced "$work/base" -e "trace=${calls// /,}"
    for call in $calls; do
        local count
        count=$(grep -c "^$call(" "$work/base/trace" || true)
        # The number of calls while a child waits for its tracer differs by some; and a failure brings further calls.
        for ((number = 1; number <= count; number++)); do
            for error in $errors; do
                case "$error $never_interrupted" in "EINTR "*"$call"*) continue ;; esac
                echo "$call $error $number"
            done
        done
    done | sort -R --random-source=<(yes rustling)
}

ledger() {
    local row
    row="$(date -u +%F)	$(git rev-parse --short HEAD)	$1	$2	$3 seconds=$SECONDS"
    echo "$row"
    [ -z "${LEDGER:-}" ] || echo "$row" >>"$LEDGER"
}

faults() {
    local seeds=${SEEDS:-0..200} violations
    local from=${seeds%..*} to=${seeds#*..}
    list >"$work/list"
    echo "the list has $(wc -l <"$work/list") runs"
    sed -n "$((from + 1)),${to}p" "$work/list" |
        xargs -P "${JOBS:-$(nproc)}" -L 1 bash -c 'one "$@"' one >"$work/results"
    grep '^violation' "$work/results" || true
    violations=$(grep -c '^violation' "$work/results" || true)
    count() { grep -c "$1" "$work/results" || true; }
    ledger strace "$seeds" "runs=$(wc -l <"$work/results") noticed=$(count '^hit noticed') unnoticed=$(count '^hit unnoticed') missed=$(count '^missed') violations=$violations"
    [ "$violations" = 0 ]
}

order() {
    mkdir "$work/order"
    traced "$work/order" -y -e trace=openat,write,pwrite64,fsync,fdatasync,linkat
    awk '
        function wrong(what) { print "line " NR ": " what ": " $0; bad++ }
        / = -1 / { next }
        /^p?write(64)?\(.*\/wal\// { dirty = 1; if (staged) wrong("the log is written while a manifest is committed") }
        /^f(data)?sync\(.*\.wal>/ { dirty = 0; synced++; syncs++ }
        /^openat.*staging\/manifest-.*O_CREAT/ { if (staged) wrong("two manifests at once"); staged = 1 }
        /^p?write(64)?\(.*staging\/manifest-/ { if (staged == 1 || staged == 2) staged = 2; else wrong("not staged") }
        /^fsync\(.*staging\/manifest-/ { if (staged == 2) staged = 3; else wrong("nothing to sync") }
        /^linkat\(.*staging\/manifest-/ {
            if (staged != 3) wrong("linked before it was synced")
            if (dirty) wrong("linked before the log was synced")
            staged = 4
        }
        # With none staged it is an opening, which makes the name of the manifest durable that it found.
        /^fsync\(.*\/manifest>\)/ { if (staged == 4) { staged = 0; manifests++ } else if (staged) wrong("synced too soon") }
        /^write\(.*\/said>, "done/ {
            split($0, words, " ")
            if (dirty) wrong("acknowledged before the log was synced")
            if (staged) wrong("acknowledged before the manifest was durable")
            if ((words[4] == "write" || words[4] == "group") && !synced) wrong("acknowledged without a sync")
            if (words[4] != "flush" && words[4] != "compact") acknowledged++
            synced = 0
        }
        END {
            printf "steps=%d syncs=%d manifests=%d violations=%d\n", acknowledged, syncs, manifests, bad
            if (bad || acknowledged < 20 || manifests < 10) exit 1
        }' "$work/order/trace"
}

small_disk() {
    local seeds=${SEEDS:-0..100}
    mkdir "$work/small"
    mount -t tmpfs -o size=8m tmpfs "$work/small"
    mounted=$work/small
    child "fill ${seeds#*..} $mounted" >"$work/filled" || {
        grep -A3 panicked "$work/filled"
        exit 1
    }
    grep 'times refused' "$work/filled"
    ledger small-disk "$seeds" "$(sed -n 's/^filled \([0-9]*\) refused \([0-9]*\)$/fills=\1 refused=\2 violations=0/p' "$work/filled")"
}

case "${1:-}" in
order) order ;;
faults) faults ;;
list) list ;;
small-disk) small_disk ;;
*)
    sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit 2
    ;;
esac
