#!/bin/sh
# Prepare a federation of containers: shares of the records, certificates, keys. Usage: prepare.sh OPTIONS, those of
# `psreval certificates`: --server NAME --node NAME ... ; or without a server: prepare.sh peers NAME ..., each of which
# is reached at NAME:9000.
#
# Begins as root, since the engine makes volumes, and a missing ./runs, for root; gives them to the user that all
# containers run as, and goes on as that user. What is there already is left as it is.
set -eu
user=${PSREVAL_USER%:*} group=${PSREVAL_USER#*:}
as_user() { setpriv --reuid="$user" --regid="$group" --clear-groups -- "$@"; }

for folder in /runs /prepared/*; do
  if [ "$(stat -c %u "$folder")" = 0 ]; then
    [ "$folder" = /runs ] || chmod 700 "$folder"
    chown "$user:$group" "$folder"
  fi
done
if ! as_user test -w /runs; then
  echo "prepare: user $user may not write to ./runs, which belongs to user $(stat -c %u /runs); start again with" \
    "PSREVAL_USER=\$(id -u):\$(id -g) set, or remove ./runs" >&2
  exit 2
fi
umask 077
told() {
  echo "prepare: \`docker compose down --volumes\` removes what was prepared for another description" >&2
  exit 2
}
if [ "$1" = peers ]; then
  shift
  for peer in "$@"; do set -- "$@" --address "$peer=$peer:9000"; shift; done
  as_user psreval peers prepare /experiment.toml --out /prepared "$@" || told
  for option in "$@"; do
    shift
    [ "$option" = --address ] || set -- "$@" --peer "${option%%=*}"
  done
  as_user psreval peers certificates /prepared "$@"
else
  as_user psreval split /experiment.toml --out /prepared || told
  as_user psreval certificates /prepared "$@"
fi
