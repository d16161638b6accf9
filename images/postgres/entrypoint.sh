# Make the database cluster on first start, then become postgres. Writes below PGDATA's parent, /run and /tmp only.
#   POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE   required on first start
#   POSTGRES_USER (tradewind), POSTGRES_DB (tradewind)
set -eu
user=${POSTGRES_USER:-tradewind}
database=${POSTGRES_DB:-tradewind}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    fi
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE must be set: the data folder is empty and a superuser is to be made" >&2
        exit 64
    fi
    # Made beside its place and renamed at the end, so that a pod killed half-way leaves no half-made database.
    fresh=$PGDATA.new
    rm -rf "$fresh"
    umask 077
    printf '%s' "$POSTGRES_PASSWORD" > /tmp/password
    initdb --pgdata="$fresh" --username="$user" --pwfile=/tmp/password --auth-local=scram-sha-256 \
        --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums
    rm /tmp/password
    echo 'host all all all scram-sha-256' >> "$fresh/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s" OWNER "%s";\n' "$database" "$user" | postgres --single -j -D "$fresh" postgres > /dev/null
    fi
    mv "$fresh" "$PGDATA"
fi
unset POSTGRES_PASSWORD
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
