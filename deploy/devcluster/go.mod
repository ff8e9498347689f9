module storekeeper.dev/devcluster

go 1.26.0
