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

{{- define "medusa-store.redis.secretName" -}}
{{- ternary .Values.redis.external.existingSecret .Values.redis.existingSecret (eq .Values.redis.mode "external") | default "redis" | quote -}}
{{- end -}}

{{/*
"true" when background work has pods of its own, else nothing.
*/}}
{{- define "medusa-store.worker" -}}
{{- if and .Values.worker.enabled (ne .Values.redis.mode "none") }}true{{ end -}}
{{- end -}}

{{/*
"true" when the volume `backups` is in use, else nothing.
*/}}
{{- define "medusa-store.backupVolume" -}}
{{- if and (or .Values.backup.enabled .Values.restore.file) (eq .Values.backup.destination "volume") }}true{{ end -}}
{{- end -}}

{{/*
The most pods a component can have, without the surge pod of an update.
Usage: include "medusa-store.mostPods" .Values.api
*/}}
{{- define "medusa-store.mostPods" -}}
{{- if .autoscaling.enabled }}{{ int .autoscaling.maxReplicas }}{{ else }}{{ int .replicas }}{{ end -}}
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
  value: {{ printf "postgresql://%s:$(DATABASE_PASSWORD)@%s:%d/%s?sslmode=%s%s" .user .host (int .port) .database .tls (ternary "&sslrootcert=/etc/postgres-ca/ca.crt" "" (ne .caSecret "")) | quote }}
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
      name: {{ include "medusa-store.redis.secretName" . }}
      key: {{ .Values.redis.external.key | quote }}
{{- else if eq .Values.redis.mode "embedded" }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "medusa-store.redis.secretName" . }}
      key: password
- name: REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@redis:6379
{{- end }}
{{- end -}}

{{/*
Credentials of a bucket.
Usage: include "medusa-store.s3Credentials" (dict "s3" .Values.files.s3 "secret" "files-s3")
*/}}
{{- define "medusa-store.s3Credentials" -}}
- name: S3_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ .s3.existingSecret | default .secret | quote }}
      key: access-key-id
- name: S3_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .s3.existingSecret | default .secret | quote }}
      key: secret-access-key
{{- end -}}

{{/*
Where a bucket is.
*/}}
{{- define "medusa-store.s3Settings" -}}
S3_BUCKET: {{ .bucket | quote }}
S3_REGION: {{ .region | quote }}
{{- with .endpoint }}
S3_ENDPOINT: {{ . | quote }}
{{- end }}
S3_FORCE_PATH_STYLE: {{ .forcePathStyle | quote }}
{{- end -}}

{{/*
A folder in a bucket as a prefix of keys: with a slash behind it, or nothing.
*/}}
{{- define "medusa-store.s3Prefix" -}}
{{- with trimAll "/" .prefix }}{{ . }}/{{ end -}}
{{- end -}}

{{/*
What API and worker have besides what the bootstrap Job has.
*/}}
{{- define "medusa-store.serverEnv" -}}
{{ include "medusa-store.medusaEnv" . }}
{{- if eq .Values.files.provider "s3" }}
{{ include "medusa-store.s3Credentials" (dict "s3" .Values.files.s3 "secret" "files-s3") }}
{{- end }}
{{- end -}}

{{/*
The authority of an external database, as the volume and its mount.
*/}}
{{- define "medusa-store.caMount" -}}
{{- if and (eq .Values.postgres.mode "external") .Values.postgres.external.caSecret -}}
- name: postgres-ca
  mountPath: /etc/postgres-ca
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "medusa-store.caVolume" -}}
{{- if and (eq .Values.postgres.mode "external") .Values.postgres.external.caSecret -}}
- name: postgres-ca
  secret:
    secretName: {{ .Values.postgres.external.caSecret | quote }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end -}}
{{- end -}}

{{/*
Returns when the database has recorded this bootstrap; migrating in every pod would cost each start 20 s.
*/}}
{{- define "medusa-store.waitBootstrap" -}}
- name: wait-bootstrap
  image: {{ include "medusa-store.image" .Values.image }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  workingDir: /app
  args:
    - node
    - wait-bootstrap.js
  env:
    {{- include "medusa-store.databaseEnv" . | nindent 4 }}
    - name: BOOTSTRAP_ID
      value: {{ include "medusa-store.bootstrap.id" . | quote }}
    - name: WAIT_TIMEOUT_S
      value: {{ include "medusa-store.bootstrap.deadline" . | quote }}
  resources:
    {{- include "medusa-store.waitResources" . | nindent 4 }}
  securityContext:
    {{- include "medusa-store.containerSecurityContext" . | nindent 4 }}
  {{- with include "medusa-store.caMount" . }}
  volumeMounts:
    {{- . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/*
Mounts and volumes of API and worker. The worker has the uploads too: imports and exports of the dashboard are files.
*/}}
{{- define "medusa-store.serverMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if eq .Values.files.provider "volume" }}
- name: uploads
  mountPath: /app/static
{{- end }}
{{- with include "medusa-store.caMount" . }}
{{ . }}
{{- end }}
{{- end -}}

{{- define "medusa-store.serverVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if eq .Values.files.provider "volume" }}
- name: uploads
  persistentVolumeClaim:
    claimName: uploads
{{- end }}
{{- with include "medusa-store.caVolume" . }}
{{ . }}
{{- end }}
{{- end -}}

{{/*
A ReadWriteOnce volume can be mounted on one node only: the surge pod of an update needs that node too, and so does the
worker. The first of them may go anywhere, because it matches its own rule.
*/}}
{{- define "medusa-store.uploadsAffinity" -}}
{{- if and (eq .Values.files.provider "volume") (eq .Values.files.storage.accessMode "ReadWriteOnce") -}}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/name: {{ .Chart.Name }}
            app.kubernetes.io/instance: {{ .Release.Name | quote }}
          matchExpressions:
            - key: app.kubernetes.io/component
              operator: In
              values:
                - medusa
                - worker
{{- end -}}
{{- end -}}

{{/*
Several pods of a component lie in different zones and on different nodes where there are any. Not two spread constraints:
nodes without a zone label, as on most clusters of one's own, would then be left out of both, and all pods lie on one node.
Usage: include "medusa-store.spread" (dict "root" $ "component" "medusa")
*/}}
{{- define "medusa-store.spread" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: topology.kubernetes.io/zone
          labelSelector:
            matchLabels:
              {{- include "medusa-store.selectorLabels" . | nindent 14 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    # Of one revision: the pods that an update is about to end don't count.
    matchLabelKeys:
      - pod-template-hash
    labelSelector:
      matchLabels:
        {{- include "medusa-store.selectorLabels" . | nindent 8 }}
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
MEDUSA_WORKER_MODE: {{ ternary "server" "shared" (eq (include "medusa-store.worker" .) "true") }}
DATABASE_POOL_MAX: {{ int .Values.api.databasePoolMax | quote }}
COOKIE_SECURE: {{ .Values.cookie.secure | quote }}
DISABLE_MEDUSA_ADMIN: {{ not .Values.admin.enabled | quote }}
{{- if eq .Values.files.provider "s3" }}
{{- with .Values.files.s3 }}
{{ include "medusa-store.s3Settings" . }}
S3_PREFIX: {{ printf "%s%s/" (include "medusa-store.s3Prefix" .) (include "medusa-store.id" $) | quote }}
S3_FILE_URL: {{ .publicUrl | default (printf "https://%s.s3.%s.amazonaws.com" .bucket .region) | quote }}
{{- end }}
{{- end }}
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
The Internet without private, shared, link-local (cloud metadata) and loopback ranges: neither the cluster nor its API
server, unless that one has a public address (network.externalEgress.exceptCIDRs).
Usage: include "medusa-store.internetPeers" .
*/}}
{{- define "medusa-store.internetPeers" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except:
      - 10.0.0.0/8
      - 100.64.0.0/10
      - 127.0.0.0/8
      - 169.254.0.0/16
      - 172.16.0.0/12
      - 192.168.0.0/16
      {{- range .Values.network.externalEgress.exceptCIDRs }}
      {{- if not (contains ":" .) }}
      - {{ . | quote }}
      {{- end }}
      {{- end }}
- ipBlock:
    cidr: ::/0
    except:
      - ::1/128
      - fc00::/7
      - fe80::/10
      {{- range .Values.network.externalEgress.exceptCIDRs }}
      {{- if contains ":" . }}
      - {{ . | quote }}
      {{- end }}
      {{- end }}
{{- end -}}

{{/*
Egress rule to a bucket.
Usage: include "medusa-store.s3Rule" (dict "root" $ "s3" .Values.files.s3)
*/}}
{{- define "medusa-store.s3Rule" -}}
{{- if or .s3.cidrs .s3.namespace -}}
{{ include "medusa-store.externalRule" .s3 }}
{{- else -}}
- to:
    {{- include "medusa-store.internetPeers" .root | nindent 4 }}
  ports:
    - port: {{ int .s3.port }}
      protocol: TCP
{{- end -}}
{{- end -}}

{{/*
Egress of the backup, and of a restore, to its bucket; nothing for a volume.
*/}}
{{- define "medusa-store.backupRule" -}}
{{- if eq .Values.backup.destination "s3" -}}
{{ include "medusa-store.s3Rule" (dict "root" . "s3" .Values.backup.s3) }}
{{- end -}}
{{- end -}}

{{/*
Egress of API and worker besides their data: uploads in a bucket, payment providers, mail and the like.
*/}}
{{- define "medusa-store.serverRules" -}}
{{ include "medusa-store.dataRules" . }}
{{- if eq .Values.files.provider "s3" }}
{{ include "medusa-store.s3Rule" (dict "root" . "s3" .Values.files.s3) }}
{{- end }}
{{- if .Values.network.externalEgress.enabled }}
- to:
    {{- include "medusa-store.internetPeers" . | nindent 4 }}
  ports:
    {{- range .Values.network.externalEgress.ports }}
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
{{- end }}
{{- end -}}

{{/*
Egress to the database.
*/}}
{{- define "medusa-store.databaseRule" -}}
{{- if eq .Values.postgres.mode "embedded" -}}
- to:
    {{- include "medusa-store.peer" (dict "root" . "component" "postgres") | nindent 4 }}
  ports:
    - port: 5432
      protocol: TCP
{{- else -}}
{{ include "medusa-store.externalRule" .Values.postgres.external }}
{{- end }}
{{- end -}}

{{/*
Egress of everything that runs Medusa: its database, and Redis if there is one.
*/}}
{{- define "medusa-store.dataRules" -}}
{{ include "medusa-store.databaseRule" . }}
{{- if eq .Values.redis.mode "embedded" }}
- to:
    {{- include "medusa-store.peer" (dict "root" . "component" "redis") | nindent 4 }}
  ports:
    - port: 6379
      protocol: TCP
{{- else if eq .Values.redis.mode "external" }}
{{ include "medusa-store.externalRule" .Values.redis.external }}
{{- end }}
{{- end -}}
