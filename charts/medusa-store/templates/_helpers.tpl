{{/*
Objects have short fixed names (medusa, storefront, postgres, ...): one namespace holds one store. Helm itself refuses a
second release in the same namespace, because the objects belong to the first.
*/}}

{{- define "medusa-store.id" -}}
{{- required "store.id is required: the name of the store, for example --set store.id=acme" .Values.store.id -}}
{{- end -}}

{{- define "medusa-store.displayName" -}}
{{- .Values.store.displayName | default (include "medusa-store.id" .) -}}
{{- end -}}

{{- define "medusa-store.host" -}}
{{- if .Values.store.host -}}
{{- .Values.store.host -}}
{{- else -}}
{{- $domain := required "store.domain is required when store.host is empty" .Values.store.domain -}}
{{- printf "%s.%s" (include "medusa-store.id" .) $domain -}}
{{- end -}}
{{- end -}}

{{- define "medusa-store.url" -}}
{{- printf "%s://%s" (ternary "https" "http" .Values.ingress.tls.enabled) (include "medusa-store.host" .) -}}
{{- end -}}

{{- define "medusa-store.adminEmail" -}}
{{- .Values.admin.email | default (printf "admin@%s" (include "medusa-store.host" .)) -}}
{{- end -}}

{{- define "medusa-store.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Labels that never change: selectors and volume claim templates are immutable.
Usage: include "medusa-store.selectorLabels" (dict "root" $ "component" "medusa")
*/}}
{{- define "medusa-store.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "medusa-store.labels" -}}
helm.sh/chart: {{ include "medusa-store.chart" .root }}
{{ include "medusa-store.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: medusa-store
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/*
Usage: include "medusa-store.image" .Values.storefront.image
Quoted, here and elsewhere: a name of digits only, or "no", is not a string in YAML.
*/}}
{{- define "medusa-store.image" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest | quote -}}
{{- else -}}
{{- printf "%s:%s" .repository (required "an image needs a tag or a digest" .tag) | quote -}}
{{- end -}}
{{- end -}}

{{/*
What every pod has: no token of the API server, no environment variables made from Services (POSTGRES_PORT would be
one), Pod Security "restricted".
Usage: include "medusa-store.podBasics" (dict "root" $ "component" "medusa" "uid" 10001)
*/}}
{{- define "medusa-store.podBasics" -}}
serviceAccountName: {{ .component }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "medusa-store.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{/*
Init containers that only wait for the database.
*/}}
{{- define "medusa-store.waitResources" -}}
requests:
  cpu: 50m
  memory: 64Mi
limits:
  cpu: 500m
  memory: 128Mi
{{- end -}}

{{- define "medusa-store.secretName" -}}
{{- .Values.existingSecret | default "medusa" | quote -}}
{{- end -}}

{{- define "medusa-store.postgres.secretName" -}}
{{- .Values.postgres.existingSecret | default "postgres" | quote -}}
{{- end -}}

{{/*
One entry of a generated Secret: the value the cluster has, else a new one. A value once written never changes.
Usage: include "medusa-store.secretEntry" (dict "data" $data "key" "password" "new" (randAlphaNum 40))
*/}}
{{- define "medusa-store.secretEntry" -}}
{{ .key }}: {{ get .data .key | default (b64enc .new) | quote }}
{{- end -}}

{{/*
A value of a container's env, literally: Kubernetes expands $(NAME) there, so a display name could otherwise print a
Secret into the shop.
*/}}
{{- define "medusa-store.envLiteral" -}}
{{- . | replace "$" "$$" | quote -}}
{{- end -}}

{{/*
DATABASE_URL from the one key that holds the password. Kubernetes expands $(DATABASE_PASSWORD) because it is defined
before; so the password is stored once.
*/}}
{{- define "medusa-store.databaseEnv" -}}
- name: DATABASE_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "medusa-store.postgres.secretName" . }}
      key: password
- name: DATABASE_URL
  {{- if eq .Values.postgres.mode "embedded" }}
  value: postgresql://medusa:$(DATABASE_PASSWORD)@postgres:5432/medusa?sslmode=disable
  {{- else }}
  {{- with .Values.postgres.external }}
  value: {{ printf "postgresql://%s:$(DATABASE_PASSWORD)@%s:%d/%s?sslmode=%s" .user .host (int .port) .database .tls | quote }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/*
Settings and secrets that `medusa start` and the bootstrap Job both need.
*/}}
{{- define "medusa-store.medusaEnv" -}}
{{ include "medusa-store.databaseEnv" . }}
- name: JWT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "medusa-store.secretName" . }}
      key: jwt-secret
- name: COOKIE_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "medusa-store.secretName" . }}
      key: cookie-secret
{{- if eq .Values.redis.mode "external" }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.external.existingSecret | quote }}
      key: {{ .Values.redis.external.key | quote }}
{{- end }}
{{- end -}}

{{/*
The same as plain settings; the file system is read-only, so HOME and the CLI's configuration go to /tmp.
*/}}
{{- define "medusa-store.medusaSettings" -}}
NODE_ENV: production
HOME: /tmp
XDG_CONFIG_HOME: /tmp
MEDUSA_DISABLE_TELEMETRY: "true"
MEDUSA_BACKEND_URL: {{ include "medusa-store.url" . | quote }}
STORE_CORS: {{ include "medusa-store.url" . | quote }}
ADMIN_CORS: {{ include "medusa-store.url" . | quote }}
AUTH_CORS: {{ include "medusa-store.url" . | quote }}
{{- end -}}

{{- define "medusa-store.medusaConfig" -}}
{{ include "medusa-store.medusaSettings" . }}
PORT: "9000"
LOG_LEVEL: {{ .Values.api.logLevel | quote }}
NODE_OPTIONS: {{ printf "--max-old-space-size=%d" (int .Values.api.maxOldSpaceMb) | quote }}
MEDUSA_WORKER_MODE: shared
DATABASE_POOL_MAX: {{ int .Values.api.databasePoolMax | quote }}
COOKIE_SECURE: {{ .Values.cookie.secure | quote }}
DISABLE_MEDUSA_ADMIN: {{ not .Values.admin.enabled | quote }}
{{- end -}}

{{/*
Peers of NetworkPolicies.
*/}}
{{- define "medusa-store.peer" -}}
- podSelector:
    matchLabels:
      {{- include "medusa-store.selectorLabels" . | nindent 6 }}
{{- end -}}

{{- define "medusa-store.ingressPeers" -}}
{{- range .Values.network.ingressNamespaces }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . | quote }}
{{- end }}
{{- range .Values.network.ingressCIDRs }}
- ipBlock:
    cidr: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
Egress rule to a server outside the chart.
Usage: include "medusa-store.externalRule" .Values.postgres.external
*/}}
{{- define "medusa-store.externalRule" -}}
- to:
    {{- range .cidrs }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
    {{- with .namespace }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ . | quote }}
    {{- end }}
  ports:
    - port: {{ int .port }}
      protocol: TCP
{{- end -}}

{{/*
Egress of everything that runs Medusa: its database, and Redis if there is one.
*/}}
{{- define "medusa-store.dataRules" -}}
{{- if eq .Values.postgres.mode "embedded" -}}
- to:
    {{- include "medusa-store.peer" (dict "root" . "component" "postgres") | nindent 4 }}
  ports:
    - port: 5432
      protocol: TCP
{{- else -}}
{{ include "medusa-store.externalRule" .Values.postgres.external }}
{{- end }}
{{- if eq .Values.redis.mode "external" }}
{{ include "medusa-store.externalRule" .Values.redis.external }}
{{- end }}
{{- end -}}
