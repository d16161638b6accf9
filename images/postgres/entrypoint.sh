# Make the database cluster on first start, settle who may log in, then become postgres. Writes below PGDATA's parent, /run
# and /tmp only.
#   POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE   of the owner of the database, taken over at each start
#   POSTGRES_USER (tradewind), POSTGRES_DB (tradewind)
#
# The superuser is postgres: it has no password, and is let in by the socket inside the container alone. The owner is no
# superuser; it may make roles, for the tenants.
set -eu
user=${POSTGRES_USER:-tradewind}
database=${POSTGRES_DB:-tradewind}
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
fi
if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE must be set: it is the password of the database's owner" >&2
    exit 64
fi
if [ "$user" = postgres ]; then
    echo "POSTGRES_USER must not be postgres: that is the superuser, which nobody logs in as from outside" >&2
    exit 64
fi
umask 077

# Statements, each ended by a blank line, in a server without clients. What fails, or holds a password, is in no log.
alone() {
    postgres --single -j -D "$1" -c log_min_error_statement=panic -c exit_on_error=true "$2" > /dev/null
}
quoted() {
    printf '%s' "$1" | sed "s/$2/$2$2/g"
}
owner=$(quoted "$user" '"')
text=$(quoted "$user" "'")
name=$(quoted "$database" '"')

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Made beside its place and renamed at the end, so that a pod killed half-way leaves no half-made database.
    fresh=$PGDATA.new
    rm -rf "$fresh"
    initdb --pgdata="$fresh" --username=postgres --auth=scram-sha-256 --pwfile=/dev/stdin --encoding=UTF8 \
        --locale=C.UTF-8 --data-checksums <<END
$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
END
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s";\n' "$name" | alone "$fresh" postgres
    fi
    mv "$fresh" "$PGDATA"
fi

# Where an earlier version made the owner the superuser, that one is renamed: a session cannot rename itself, hence the helper.
alone "$PGDATA" postgres <<END
DO \$\$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE oid = 10 AND rolname = '$text') THEN
        DROP ROLE IF EXISTS tradewind_helper;
        CREATE ROLE tradewind_helper SUPERUSER;
        SET SESSION AUTHORIZATION tradewind_helper;
        ALTER ROLE "$owner" RENAME TO postgres;
        SET SESSION AUTHORIZATION postgres;
        DROP ROLE tradewind_helper;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$text') THEN
        CREATE ROLE "$owner";
    END IF;
END \$\$;

ALTER ROLE postgres PASSWORD NULL;

ALTER ROLE "$owner" LOGIN NOSUPERUSER NOBYPASSRLS NOREPLICATION NOCREATEDB CREATEROLE PASSWORD '$(quoted "$POSTGRES_PASSWORD" "'")';

ALTER DATABASE "$name" OWNER TO "$owner";

REVOKE ALL ON DATABASE "$name", postgres, template1 FROM PUBLIC;

END
alone "$PGDATA" "$database" <<END
DO \$\$
DECLARE
    found record;
BEGIN
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    FOR found IN
        SELECT format('SCHEMA %I', nspname) AS what FROM pg_namespace WHERE nspowner = 10 AND nspname = 'tradewind'
        UNION ALL
        SELECT format('%s %I.%I', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, 'tradewind', relname)
          FROM pg_class c WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'tradewind') AND relowner = 10
           AND relkind IN ('r', 'v', 'S')
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
        UNION ALL
        SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc
         WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'tradewind') AND proowner = 10
    LOOP
        EXECUTE format('ALTER %s OWNER TO %I', found.what, '$text');
    END LOOP;
END \$\$;

END
cat > "$PGDATA/pg_hba.conf" <<END
local all postgres trust
local all all scram-sha-256
host all postgres all reject
host all all all scram-sha-256
END
unset POSTGRES_PASSWORD
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
