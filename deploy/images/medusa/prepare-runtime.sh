#!/bin/sh
# Makes what `medusa build` left in .medusa/server ready to run: the packages of the lock file without the development
# ones, and without what only the build of the dashboard needs. 758 MB become about 200 MB.
set -eu

server=.medusa/server
cp wait-bootstrap.js "$server/"
cp -r samples "$server/"
mv node_modules "$server/node_modules"
cd "$server"
npm prune --omit=dev --ignore-scripts --no-audit --no-fund

# db:migrate makes this folder in every module that has none, which a read-only root refuses.
for module in node_modules/@medusajs/*/dist; do mkdir -p "$module/migrations"; done
# The mount point of the uploads.
mkdir -p static

cd node_modules
# Maps, typings and texts are never loaded; licences stay.
find . -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \
    -o \( -iname '*.md' -a ! -iname '*licen[sc]e*' \) \) -delete
# The dashboard is built (public/admin): its bundler, its sources and what only they use. The list belongs to Medusa 2.21
# and is guarded by the purchase in the end-to-end test.
rm -rf typescript @swc @esbuild esbuild vite rollup @rollup @babel tailwindcss autoprefixer caniuse-lite @types \
    react-aria react-stately @react-aria @react-stately @react-types @internationalized @ariakit @radix-ui @tanstack \
    react-dom react-router react-router-dom date-fns figlet \
    @medusajs/dashboard @medusajs/icons @medusajs/ui @medusajs/admin-vite-plugin @medusajs/admin-bundler/node_modules
# Links to programs that are gone, npm's own notes.
find .bin -xtype l -delete
rm -f .package-lock.json
