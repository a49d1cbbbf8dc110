#!/bin/sh
# @VERSION@ in one file: below these lines lies a compressed archive with the program and all it needs. The first start
# unpacks it into a cache folder, later starts only run it. Needs sh, tail, tar and gzip; no Deno, Node or Python.
set -eu
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
export PATH
key=@KEY@
fail() { echo "ftl: $1" >&2; echo "  try: $2" >&2; exit 1; }

# The first of these folders that has the program already, else the first that can be written to and run from.
uid=$(id -u 2>/dev/null || echo user)
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
here=$(CDPATH= cd -- "$here" && pwd)
home=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
set_candidates() { set -- "${FTL_CACHE:-}" "${home:+$home/ftl}" "${TMPDIR:-/tmp}/ftl-$uid" "$here/.ftl"; found "$@"; }
usable() { [ -O "$1" ] && [ -x "$1/deno" ] && [ -f "$1/main.js" ]; }
found() {
  app= tried=
  for folder in "$@"; do
    if [ -n "$folder" ] && usable "$folder/app-$key"; then app=$folder/app-$key; return; fi
  done
  # A truncated copy is told apart before anything is unpacked.
  size=$(wc -c < "$0" | tr -d ' ')
  [ "$size" -eq @SIZE@ ] || fail "this copy of $0 is broken: it has $size bytes, expected @SIZE@" "copy the file again"
  for tool in tail gzip tar; do
    command -v $tool >/dev/null || fail "cannot unpack: there is no $tool on PATH" "install $tool"
  done
  for folder in "$@"; do
    if [ -n "$folder" ] && unpack "$folder"; then app=$folder/app-$key; return; fi
  done
  fail "cannot unpack: none of these folders will do$tried" \
    "FTL_CACHE=/some/folder $0, a folder with @MEGABYTES@ MB of space to write to and run programs from"
}
no() { tried="$tried
  $1: $2"; return 1; }
# Into a folder of this process, then renamed: another start at the same time does the same, and either result serves.
unpack() {
  mkdir -p "$1" 2>/dev/null && [ -w "$1" ] || { no "$1" "cannot be written to"; return; }
  [ -O "$1" ] || { no "$1" "belongs to another user"; return; }
  part=$1/.unpack-$key-$$
  trap 'rm -rf "$part"' EXIT
  trap 'rm -rf "$part"; exit 130' INT TERM HUP
  rm -rf "$part"
  if ! mkdir -m 700 "$part" 2>/dev/null; then no "$1" "cannot be written to"
  elif ! tail -n +@LINES@ "$0" | gzip -dc 2>/dev/null | tar -xf - -C "$part" 2>/dev/null; then no "$1" "has no room for @MEGABYTES@ MB"
  elif ! "$part/deno" --version >/dev/null 2>&1; then no "$1" "lets no program run (noexec), or this is another system"
  else [ -d "$1/app-$key" ] || mv "$part" "$1/app-$key" 2>/dev/null
  fi || :
  rm -rf "$part" "$1/app-$key/.unpack-$key-$$"
  trap - EXIT INT TERM HUP
  usable "$1/app-$key"
}

set_candidates
FTL_PROGRAM=$0 DENO_DIR=$app/deno-dir DENO_NO_UPDATE_CHECK=1
export FTL_PROGRAM DENO_DIR DENO_NO_UPDATE_CHECK
exec "$app/deno" run @FLAGS@ "$app/main.js" "$@"
exit 1
