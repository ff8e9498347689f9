{{/*
Combinations that the schema can't refuse, because each value alone is fine. Included once, by the API's Deployment.
*/}}
{{- define "medusa-store.validate" -}}
{{- include "medusa-store.validate.scaling" . -}}
{{- include "medusa-store.validate.connections" . -}}
{{- include "medusa-store.validate.servers" . -}}
{{- include "medusa-store.validate.buckets" . -}}
{{- include "medusa-store.validate.finalBackup" . -}}
{{- include "medusa-store.validate.restore" . -}}
{{- include "medusa-store.validate.externalSecrets" . -}}
{{- if and .Values.cookie.secure (not .Values.ingress.tls.enabled) -}}
{{- fail "cookie.secure is true but ingress.tls.enabled is false: over plain http browsers get no session cookie, so nobody can log in; set both or neither" -}}
{{- end -}}
{{- if and .Values.ingress.tls.enabled (not .Values.cookie.secure) -}}
{{- fail "cookie.secure is false but ingress.tls.enabled is true: session cookies would also travel in plain text; set both or neither" -}}
{{- end -}}
{{- if and .Values.network.enabled (not .Values.network.ingressNamespaces) (not .Values.network.ingressCIDRs) -}}
{{- fail "network.ingressNamespaces or network.ingressCIDRs is required: the NetworkPolicies would keep the ingress controller out" -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.scaling" -}}
{{- range $component := list "api" "storefront" -}}
{{- with (get $.Values $component).autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is greater than maxReplicas" $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt (int (include "medusa-store.mostPods" .Values.api)) 1 -}}
{{- $what := ternary "api.autoscaling" "api.replicas > 1" .Values.api.autoscaling.enabled -}}
{{- if eq .Values.redis.mode "none" -}}
{{- fail (printf "%s needs redis.mode embedded or external: without Redis every pod has its own events, workflows and sessions, so orders get lost or doubled and logins jump" $what) -}}
{{- end -}}
{{- if and (eq .Values.files.provider "volume") (ne .Values.files.storage.accessMode "ReadWriteMany") -}}
{{- fail (printf "%s needs files.provider s3, or files.storage.accessMode ReadWriteMany: pods on other nodes could not mount the uploads, and pictures would be missing there" $what) -}}
{{- end -}}
{{- end -}}
{{- if and (include "medusa-store.worker" .) (gt (int .Values.worker.replicas) 1) (eq .Values.files.provider "volume") (ne .Values.files.storage.accessMode "ReadWriteMany") -}}
{{- fail "worker.replicas > 1 needs files.provider s3, or files.storage.accessMode ReadWriteMany: pods on other nodes could not mount the uploads, where imports and exports lie" -}}
{{- end -}}
{{- if and (include "medusa-store.worker" .) (eq (int .Values.worker.replicas) 0) -}}
{{- fail "worker.replicas is 0: events of orders would wait in Redis and nobody would handle them; set worker.enabled to false and the API does the work" -}}
{{- end -}}
{{- end -}}

{{- /* API and worker with their surge pods, two bootstrap Jobs (old and new), 3 connections reserved for the superuser, 10 for others. */ -}}
{{- define "medusa-store.validate.connections" -}}
{{- if eq .Values.postgres.mode "embedded" -}}
{{- $pods := add 3 (include "medusa-store.mostPods" .Values.api) -}}
{{- if include "medusa-store.worker" . }}{{ $pods = add $pods .Values.worker.replicas 1 }}{{ end -}}
{{- $least := add 13 (mul $pods .Values.api.databasePoolMax) -}}
{{- if lt (int .Values.postgres.maxConnections) (int $least) -}}
{{- fail (printf "postgres.maxConnections is %d where %d are needed: %d pods (surge pods and Jobs included) of api.databasePoolMax %d connections, and 13; with fewer, checkouts fail when the shop is busy" (int .Values.postgres.maxConnections) (int $least) (int $pods) (int .Values.api.databasePoolMax)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.servers" -}}
{{- $external := .Values.externalSecrets.enabled -}}
{{- if eq .Values.postgres.mode "external" -}}
{{- $_ := required "postgres.external.host is required with postgres.mode external" .Values.postgres.external.host -}}
{{- if not (or $external .Values.postgres.existingSecret) -}}
{{- fail "postgres.existingSecret (or externalSecrets) is required with postgres.mode external: a generated password would not be the server's" -}}
{{- end -}}
{{- if and .Values.network.enabled (not .Values.postgres.external.cidrs) (not .Values.postgres.external.namespace) -}}
{{- fail "postgres.external.cidrs or postgres.external.namespace is required: the NetworkPolicies must open the way to the server (or set network.enabled to false)" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.redis.mode "external" -}}
{{- if not (or $external .Values.redis.external.existingSecret) -}}
{{- fail "redis.external.existingSecret (or externalSecrets) is required with redis.mode external" -}}
{{- end -}}
{{- if and .Values.network.enabled (not .Values.redis.external.cidrs) (not .Values.redis.external.namespace) -}}
{{- fail "redis.external.cidrs or redis.external.namespace is required: the NetworkPolicies must open the way to Redis (or set network.enabled to false)" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.buckets" -}}
{{- if eq .Values.files.provider "s3" -}}
{{- include "medusa-store.validate.bucket" (dict "root" . "path" "files.s3" "s3" .Values.files.s3) -}}
{{- if and .Values.files.s3.endpoint (not .Values.files.s3.publicUrl) -}}
{{- fail "files.s3.publicUrl is required with files.s3.endpoint: browsers load the pictures from there" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.backup.destination "s3") (or .Values.backup.enabled .Values.restore.file) -}}
{{- include "medusa-store.validate.bucket" (dict "root" . "path" "backup.s3" "s3" .Values.backup.s3) -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.bucket" -}}
{{- $_ := required (printf "%s.bucket is required" .path) .s3.bucket -}}
{{- if not (or .s3.existingSecret .root.Values.externalSecrets.enabled) -}}
{{- fail (printf "%s.existingSecret (or externalSecrets) is required: the bucket's credentials can't be generated" .path) -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.finalBackup" -}}
{{- if .Values.backup.final -}}
{{- if not .Values.backup.enabled -}}
{{- fail "backup.final needs backup.enabled: the last backup is made of the CronJob" -}}
{{- end -}}
{{- if ne .Values.backup.destination "s3" -}}
{{- fail "backup.final needs backup.destination s3: the volume goes with the store, and the last backup with it" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.restore" -}}
{{- if .Values.restore.file -}}
{{- if eq .Values.postgres.mode "external" -}}
{{- fail "restore.file needs postgres.mode embedded: the chart has no superuser on another server to swap databases with; restore there with that server's means" -}}
{{- end -}}
{{- if and (eq .Values.backup.destination "volume") (contains "/" .Values.restore.file) -}}
{{- fail "restore.file is a plain name with backup.destination volume: the volume has no folders" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.validate.externalSecrets" -}}
{{- if .Values.externalSecrets.enabled -}}
{{- $_ := required "externalSecrets.storeRef.name is required with externalSecrets.enabled" .Values.externalSecrets.storeRef.name -}}
{{- $given := dict "existingSecret" .Values.existingSecret "postgres.existingSecret" .Values.postgres.existingSecret "redis.existingSecret" .Values.redis.existingSecret -}}
{{- $_ := set $given "redis.external.existingSecret" .Values.redis.external.existingSecret -}}
{{- $_ := set $given "files.s3.existingSecret" .Values.files.s3.existingSecret -}}
{{- $_ := set $given "backup.s3.existingSecret" .Values.backup.s3.existingSecret -}}
{{- range $path, $name := $given -}}
{{- if $name -}}
{{- fail (printf "%s and externalSecrets.enabled exclude each other: it would be a guess which of the two holds the secret" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
