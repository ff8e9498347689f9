{{/*
Where the files from Secrets are in the container.
*/}}
{{- define "storekeeper.secretsFolder" -}}
/etc/storekeeper/secrets
{{- end -}}

{{/*
The Secrets that values name: the variable that tells storekeeper of the file, the file, the Secret and its key. As JSON,
because a template returns only text.
*/}}
{{- define "storekeeper.secretFiles" -}}
{{- $v := .Values -}}
{{- $known := list
  (list "STOREKEEPER_GIT_TOKEN_FILE" "git-token" $v.repository.tokenSecret)
  (list "STOREKEEPER_GIT_SSH_KEY_FILE" "git-ssh-key" $v.repository.sshKeySecret)
  (list "STOREKEEPER_GIT_KNOWN_HOSTS_FILE" "git-known-hosts" $v.repository.knownHostsSecret)
  (list "STOREKEEPER_GIT_CA_FILE" "git-ca" $v.repository.caSecret)
  (list "STOREKEEPER_ALLOWED_SIGNERS_FILE" "allowed-signers" $v.trust.allowedSignersSecret)
  (list "STOREKEEPER_OPENPGP_KEYS_FILE" "openpgp-keys" $v.trust.openpgpKeysSecret)
  (list "STOREKEEPER_FORGE_TOKEN_FILE" "forge-token" $v.forge.tokenSecret)
  (list "STOREKEEPER_FORGE_APP_KEY_FILE" "forge-app-key" $v.forge.app.keySecret)
  (list "STOREKEEPER_FORGE_CA_FILE" "forge-ca" $v.forge.caSecret)
  (list "STOREKEEPER_HOOK_SECRET_FILE" "webhook-secret" $v.forge.webhookSecret)
  (list "STOREKEEPER_CHART_CREDENTIALS_FILE" "chart-credentials" $v.charts.credentialsSecret)
  (list "STOREKEEPER_CHART_CA_FILE" "chart-ca" $v.charts.caSecret)
  (list "STOREKEEPER_CHART_SSH_KEY_FILE" "chart-ssh-key" $v.charts.sshKeySecret)
  (list "STOREKEEPER_CHART_KNOWN_HOSTS_FILE" "chart-known-hosts" $v.charts.knownHostsSecret)
  (list "STOREKEEPER_CHART_KEYRING_FILE" "chart-keyring" $v.charts.keyringSecret)
  (list "STOREKEEPER_JOURNAL_URL_FILE" "journal-url" $v.journal.postgresqlSecret)
  (list "STOREKEEPER_PROBE_CA_FILE" "probe-ca" $v.probe.caSecret)
  (list "STOREKEEPER_READ_TOKEN_FILE" "read-token" $v.page.readTokenSecret)
-}}
{{- $files := list -}}
{{- range $known -}}
{{- $secret := index . 2 -}}
{{- if $secret.name -}}
{{- $files = append $files (dict "variable" (index . 0) "file" (index . 1) "name" $secret.name "key" $secret.key) -}}
{{- end -}}
{{- end -}}
{{- dict "files" $files | toJson -}}
{{- end -}}

{{/*
Settings that are always there.
*/}}
{{- define "storekeeper.settings.always" -}}
{{- $v := .Values -}}
STOREKEEPER_REPOSITORY: {{ $v.repository.url | quote }}
STOREKEEPER_BRANCH: {{ $v.repository.branch | quote }}
STOREKEEPER_POLL_SECONDS: {{ int $v.repository.pollSeconds | quote }}
STOREKEEPER_GIT_USERNAME: {{ $v.repository.username | quote }}
STOREKEEPER_SOURCE: {{ $v.source | quote }}
STOREKEEPER_VERIFY_COMMITS: {{ $v.trust.verifyCommits | quote }}
STOREKEEPER_VERIFY_RANGE: {{ $v.trust.verifyRange | quote }}
STOREKEEPER_STATUSES_PER_COMMIT: {{ int $v.forge.statusesPerCommit | quote }}
STOREKEEPER_PLAN_FORKS: {{ $v.forge.planForks | quote }}
STOREKEEPER_JOURNAL_KEEP_DAYS: {{ int $v.journal.keepDays | quote }}
STOREKEEPER_JOURNAL_KEEP_EVENTS: {{ int $v.journal.keepEvents | quote }}
STOREKEEPER_PROBE: {{ $v.probe.mode | quote }}
STOREKEEPER_PROBE_INTERVAL_SECONDS: {{ int $v.probe.intervalSeconds | quote }}
STOREKEEPER_CONCURRENCY: {{ int $v.limits.concurrency | quote }}
STOREKEEPER_MAX_REQUESTS_IN_FLIGHT: {{ int $v.limits.maxRequestsInFlight | quote }}
STOREKEEPER_LEASE_SECONDS: {{ int $v.leadership.leaseSeconds | quote }}
STOREKEEPER_SHARDS: {{ $v.leadership.shards | quote }}
STOREKEEPER_SERVICE_ACCOUNT: {{ printf "%s:%s" .Release.Namespace (include "storekeeper.serviceAccount" .) | quote }}
STOREKEEPER_LISTEN: 0.0.0.0:8080
STOREKEEPER_METRICS_LISTEN: 0.0.0.0:9090
STOREKEEPER_METRICS_STORES_MAX: {{ int $v.metrics.storesMax | quote }}
STOREKEEPER_RATE_PER_CLIENT: {{ int $v.page.ratePerClient | quote }}
STOREKEEPER_RATE_TOTAL: {{ int $v.page.rateTotal | quote }}
STOREKEEPER_STATE_FOLDER: /var/lib/storekeeper
STOREKEEPER_LOG: {{ $v.log.level | quote }}
STOREKEEPER_LOG_FORMAT: {{ $v.log.format | quote }}
{{- end -}}

{{/*
Settings that are there when a value is: to storekeeper an empty variable is a value, and a wrong one.
*/}}
{{- define "storekeeper.settings.given" -}}
{{- $v := .Values -}}
{{- $given := dict
  "STOREKEEPER_CLUSTER" $v.cluster
  "STOREKEEPER_FORGE_MERGES_BY" $v.trust.forgeMergesBy
  "STOREKEEPER_FORGE" $v.forge.kind
  "STOREKEEPER_FORGE_API" $v.forge.api
  "STOREKEEPER_FORGE_URL" $v.forge.url
  "STOREKEEPER_FORGE_REPOSITORY" $v.forge.repository
  "STOREKEEPER_FORGE_APP_ID" $v.forge.app.id
  "STOREKEEPER_CHART" $v.charts.folder
  "STOREKEEPER_CHART_SOURCES" (join "," $v.charts.sources)
  "STOREKEEPER_HELM_PROGRAM" $v.charts.helmProgram
  "STOREKEEPER_PROBE_ADDRESS" $v.probe.address
  "STOREKEEPER_PUBLIC_URL" (include "storekeeper.publicUrl" .)
  "STOREKEEPER_TRUSTED_PROXIES" (join "," $v.page.trustedProxies)
  "STOREKEEPER_AUTH_HEADER" $v.page.authHeader
-}}
{{- if $v.rbac.create -}}
{{- $_ := set $given "STOREKEEPER_STORE_ROLE" (include "storekeeper.storeRole" .) -}}
{{- $_ := set $given "STOREKEEPER_TRY_OUT_NAMESPACE" (include "storekeeper.tryOut" .) -}}
{{- end -}}
{{- if $v.trust.fastForwardOnly }}{{ $_ := set $given "STOREKEEPER_FAST_FORWARD_ONLY" "true" }}{{ end -}}
{{- if not $v.charts.folders }}{{ $_ := set $given "STOREKEEPER_NO_CHART_FOLDERS" "true" }}{{ end -}}
{{- $caps := dict "STOREKEEPER_MAX_STORES" $v.limits.maxStores "STOREKEEPER_MAX_NEW_STORES_PER_HOUR" $v.limits.maxNewStoresPerHour -}}
{{- range $name, $cap := $caps -}}
{{- if ne (toString $cap) "" }}{{ $_ := set $given $name (int $cap | toString) }}{{ end -}}
{{- end -}}
{{- $steps := list -}}
{{- range $step, $seconds := $v.probe.stepTimeouts }}{{ $steps = append $steps (printf "%s=%d" $step (int $seconds)) }}{{ end -}}
{{- $_ := set $given "STOREKEEPER_STEP_TIMEOUT" (join "," $steps) -}}
{{- $kinds := list -}}
{{- range $v.rbac.extraKinds }}{{ $kinds = append $kinds (printf "%s/%s" .group .kind | trimPrefix "/") }}{{ end -}}
{{- $_ := set $given "STOREKEEPER_CHART_KINDS" (join "," $kinds) -}}
{{- $folder := include "storekeeper.secretsFolder" . -}}
{{- range (include "storekeeper.secretFiles" . | fromJson).files -}}
{{- $_ := set $given .variable (printf "%s/%s" $folder .file) -}}
{{- end -}}
{{- range $name, $value := $given -}}
{{- if $value }}
{{ $name }}: {{ $value | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "storekeeper.settings" -}}
{{ include "storekeeper.settings.always" . }}
{{- include "storekeeper.settings.given" . }}
{{- end -}}
