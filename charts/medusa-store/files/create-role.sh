#!/bin/sh
# Runs once, when the data directory is created (the contract of docker-entrypoint-initdb.d).
# Medusa gets a role that owns its database and nothing else; the superuser stays for maintenance.
# psql reads the password from the environment, so that it never stands in a process list.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv role STORE_DATABASE_USER
\getenv password STORE_DATABASE_PASSWORD
\getenv database STORE_DATABASE_NAME
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
