#!/bin/sh
# Runs once, when the data directory is created: a role that owns its database and nothing else.
# psql reads the password from the environment, so that it never stands in a process list.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv password PAGE_PASSWORD
CREATE ROLE page LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE page OWNER page;
REVOKE ALL ON DATABASE page FROM PUBLIC;
SQL
