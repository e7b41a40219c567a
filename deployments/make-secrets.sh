#!/bin/sh
# Make the passwords of a deployment; those that exist stay.
#
#     deployments/make-secrets.sh [FOLDER [HOST_OF_POSTGRESQL]]
#
# Only you may enter the folder. Its files are readable, because a container reads them under a user of its own.
set -eu

folder=${1:-$(dirname "$0")/secrets}
host=${2:-postgres}

umask 077
mkdir -p "$folder"
chmod 700 "$folder"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep() {
    [ ! -e "$folder/$1" ] || return 0
    printf '%s\n' "$2" >"$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1"
}

keep api_auth "automat:$(random)"
keep postgres_password "$(random)"
keep database_url "postgresql+asyncpg://automat:$(cat "$folder/postgres_password")@$host:5432/prefect"
