# Sourced by the benchmarks: a home with contacts and an invitation in a temporary folder, on loopback, ended by process id.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in smtp-source smtp-sink; do
    [ -x "/usr/sbin/$tool" ] || { echo "$0: needs Postfix's $tool: apt-get install postfix" >&2; exit 1; }
done
# SVAR_BIN measures another binary, so that two can be measured in turns
[ -n "${SVAR_BIN:-}" ] || cargo build --release --quiet
svar=${SVAR_BIN:-$PWD/target/release/svar}
work=$(mktemp -d)
pids=()
end() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# start_sink PORT [options]: smtp-sink, which takes everything. It leaves root's rights, as it must.
start_sink() {
    local port=$1
    shift
    (cd "$work" && exec /usr/sbin/smtp-sink -u nobody "$@" "127.0.0.1:$port" 1000) >/dev/null 2>&1 &
    pids+=("$!")
    sink=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
}

# make_home NAME CONTACTS RELAY_PORT CONNECTIONS DATABASE: its folder is $home, its LMTP port $lmtp, its database $database.
make_home() {
    home=$work/$1
    database=$5
    lmtp=$(free_port)
    mkdir "$home"
    cat >"$home/svar.toml" <<TOML
database = "$5"
[organiser]
name = "Monica Berg"
[mail]
from = "Monica Berg <monica@natverket.example.org>"
reply = "svar@natverket.example.org"
[relay]
host = "127.0.0.1"
port = $3
tls = "none"
connections = $4
messages_per_connection = 100000
[intake]
lmtp = "127.0.0.1:$lmtp"
[web]
listen = ""
[log]
level = "warn"
TOML
    awk -v n="$2" 'BEGIN { print "e-post;förnamn;företag"; for (i = 0; i < n; i++) printf "person%d@guests.example.org;Person %d;Firma %d AB\n", i, i, i }' >"$home/people.csv"
    {
        printf -- '---\nname: natverk\nkind: invitation\nlist: chefer\nsubject: "{{first_name}}, vill du vara med i ett nätverk för chefer?"\nlanguage: sv\nsend: now\n---\n'
        printf 'Hej {{first_name}} på {{företag}}!\n\n'
        for _ in $(seq 14); do
            printf 'Vi är några **helt vanliga chefer** som träffas en kväll i månaden och talar om sådant som vi annars grubblar på själva: scheman, samtal vi helst hade sluppit, och vad man gör när det blev fel.\n\n'
        done
    } >"$home/natverk.md"
    run() { "$svar" --config "$home/svar.toml" "$@"; }
    run init >/dev/null
    local from=$EPOCHREALTIME
    run contacts import "$home/people.csv" --list chefer >/dev/null
    import_s=$(seconds "$from")
    run campaign add "$home/natverk.md" >/dev/null
    from=$EPOCHREALTIME
    run campaign start natverk >/dev/null
    start_s=$(seconds "$from")
}

# serve: the daemon of $home; its process id is $daemon.
serve() {
    "$svar" --config "$home/svar.toml" serve 2>>"$home/log" &
    daemon=$!
    pids+=("$daemon")
}

seconds() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'; }
count() { run status natverk --json | tr -d ' ,\n' | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
cpu_seconds() { awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($14 + $15) / hz }' "/proc/$1/stat"; }
peak_mib() { awk '/VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$1/status"; }
per_second() { awk -v n="$1" -v s="$2" 'BEGIN { printf "%.0f", n / s }'; }

# await FIELD COUNT SECONDS: until the status has it, looking ten times a second.
await() {
    local tries=$(($3 * 10))
    until [ "$(count "$1")" = "$2" ]; do
        tries=$((tries - 1))
        if [ "$tries" -le 0 ]; then echo "$0: waited $3 s in vain for $1 = $2" >&2; run status natverk >&2; exit 1; fi
        sleep 0.1
    done
}

# await_empty SECONDS: until nothing waits in the outbox. The database is asked itself: `svar status` counts everything, which
# ten times a second took a third of what two processors can do from the one that is measured.
await_empty() {
    local open="EXISTS (SELECT 1 FROM delivery WHERE state = 'queued') OR EXISTS (SELECT 1 FROM delivery WHERE state = 'sending')
        OR NOT EXISTS (SELECT 1 FROM delivery)"
    if [ -f "$home/$database" ]; then
        python3 - "$home/$database" "$open" "$1" <<'PY'
import sqlite3, sys, time
base, end = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None), time.time() + float(sys.argv[3])
while base.execute(f"SELECT {sys.argv[2]}").fetchone()[0]:
    if time.time() > end:
        sys.exit("the outbox is not empty after so many seconds: " + sys.argv[3])
    time.sleep(0.02)
PY
    else
        timeout "$1" sh -c 'while [ "$(psql "$1" -Atqc "SELECT $2")" = t ]; do sleep 0.05; done' sh "$database" "$open"
    fi
}

machine() {
    printf 'machine: %s, %s processors, %s kB memory; %s; %s\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
        "$(awk '/MemTotal/ { print $2 }' /proc/meminfo)" "$(uname -sr)" "$(rustc --version)"
}
