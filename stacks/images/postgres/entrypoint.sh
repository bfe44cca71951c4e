#!/bin/sh
# Makes the cluster when there is none, then becomes the server. Honours POSTGRES_USER,
# POSTGRES_PASSWORD, POSTGRES_DB (each also as NAME_FILE), POSTGRES_INITDB_ARGS and PGDATA as the
# official image does. A cluster is made under another name and moved into place when complete, so
# that one cut short is made again. Needs nothing but mkdir, mv and rm.
set -eu
umask 077

from_file() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -n "$file" ]; then
        if [ -n "$value" ]; then
            echo "cannot use both $1 and $1_FILE" >&2
            exit 1
        fi
        # shellcheck disable=SC2034
        IFS= read -r value < "$file" || [ -n "$value" ]
    fi
    eval "$1=\$value"
}

# An identifier between double quotes: inner ones are doubled.
quoted() {
    rest=$1 out=
    while [ "${rest#*\"}" != "$rest" ]; do
        out="$out${rest%%\"*}\"\""
        rest=${rest#*\"}
    done
    printf '"%s"' "$out$rest"
}

# initdb asks for the name of the user that runs it, who may be one that no image knows.
name_user() {
    user=1000 group=1000
    while read -r key _ effective _; do
        case $key in
            Uid:) user=$effective ;;
            Gid:) group=$effective ;;
        esac
    done < /proc/self/status
    # Podman names the user of a container, in a file that cannot be written.
    if [ -r /etc/passwd ]; then
        while IFS=: read -r _ _ known _; do
            [ "$known" != "$user" ] || return 0
        done < /etc/passwd
    fi
    printf 'root:x:0:0:root:/:/sbin/nologin\npostgres:x:%s:%s::/tmp:/sbin/nologin\n' \
        "$user" "$group" > /tmp/passwd
}

make_cluster() {
    fresh="$PGDATA.new"
    rm -rf "$fresh"
    mkdir -p "$fresh"
    trap 'rm -f "$fresh.password"' EXIT
    if [ "${PG_MAJOR:-0}" -ge 17 ]; then
        set -- --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C
    elif [ -d /usr/lib/locale/C.utf8 ]; then
        set -- --locale=C.UTF-8
    else
        set -- --locale=C
    fi
    printf '%s\n' "$POSTGRES_PASSWORD" > "$fresh.password"
    # Unquoted on purpose: it holds several arguments.
    # shellcheck disable=SC2086
    initdb --pgdata="$fresh" --username="$POSTGRES_USER" --pwfile="$fresh.password" \
        --encoding=UTF8 --no-sync --auth-local=trust --auth-host=scram-sha-256 "$@" \
        ${POSTGRES_INITDB_ARGS:-}
    rm -f "$fresh.password"
    printf '\nhost all all all scram-sha-256\n' >> "$fresh/pg_hba.conf"
    if [ "$POSTGRES_DB" != postgres ]; then
        printf 'CREATE DATABASE %s;\n' "$(quoted "$POSTGRES_DB")" \
            | postgres --single -c fsync=off -D "$fresh" postgres > /dev/null
    fi
    rm -rf "$PGDATA"
    mv "$fresh" "$PGDATA"
}

if [ "${1:-postgres}" != postgres ] && [ "${1#-}" = "${1:-}" ]; then
    exec "$@"
fi
[ "${1:-}" = postgres ] && shift
name_user
: "${PGDATA:=/var/lib/postgresql/cluster}"
export PGDATA
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER
    from_file POSTGRES_DB
    : "${POSTGRES_USER:=postgres}"
    : "${POSTGRES_DB:=$POSTGRES_USER}"
    if [ -z "$POSTGRES_PASSWORD" ]; then
        echo "cannot make a database cluster without POSTGRES_PASSWORD" >&2
        exit 1
    fi
    make_cluster
fi
unset POSTGRES_PASSWORD
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql,/tmp "$@"
