{{/*
The bootstrap Job's name carries a hash of its whole spec (a Job is immutable), so it runs once for each image and
settings. API pods wait until the database has recorded the same id. No Helm hook: before the release there is no
database, and after it with --wait the API would never become ready.
*/}}
{{- define "medusa-store.bootstrap.id" -}}
{{- printf "bootstrap-%s" (include "medusa-store.bootstrap.spec" (dict "root" . "id" "") | sha256sum | trunc 8) -}}
{{- end -}}

{{/*
Seconds after which the Job has failed: with a restore somebody may have to bring the file first.
*/}}
{{- define "medusa-store.bootstrap.deadline" -}}
{{- if .Values.restore.file -}}
{{- add .Values.bootstrap.timeoutSeconds .Values.restore.timeoutSeconds -}}
{{- else -}}
{{- int .Values.bootstrap.timeoutSeconds -}}
{{- end -}}
{{- end -}}

{{/*
What a restore is known by in the database, so that the same setting never restores twice, whatever else changes the Job.
*/}}
{{- define "medusa-store.restore.id" -}}
{{- printf "%s#%d" .Values.restore.file (int .Values.restore.request) | sha256sum | trunc 8 -}}
{{- end -}}

{{/*
Usage: include "medusa-store.bootstrap.spec" (dict "root" $ "id" $id)
The pod labels are the stable ones: a new chart version alone must not run the Job again.
*/}}
{{- define "medusa-store.bootstrap.spec" -}}
{{- $values := .root.Values -}}
backoffLimit: {{ int $values.bootstrap.backoffLimit }}
activeDeadlineSeconds: {{ include "medusa-store.bootstrap.deadline" .root }}
{{- /* No ttlSecondsAfterFinished: a Job that vanishes would be created, and run, again. */}}
podFailurePolicy:
  rules:
    # An evicted pod is not a failed bootstrap.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
template:
  metadata:
    labels:
      {{- include "medusa-store.selectorLabels" (dict "root" .root "component" "bootstrap") | nindent 6 }}
  spec:
    # A failed pod stays, with its log; the Job starts another one.
    restartPolicy: Never
    {{- include "medusa-store.podBasics" (dict "root" .root "component" "bootstrap" "uid" 10001) | nindent 4 }}
    initContainers:
      {{- if $values.restore.file }}
      {{- include "medusa-store.restore.container" .root | nindent 6 }}
      {{- end }}
      - name: wait-database
        image: {{ include "medusa-store.image" $values.image }}
        imagePullPolicy: {{ $values.image.pullPolicy }}
        workingDir: /app
        args:
          - node
          - --eval
          - |
            {{- .root.Files.Get "files/wait-database.js" | trim | nindent 12 }}
        env:
          {{- include "medusa-store.databaseEnv" .root | nindent 10 }}
        resources:
          {{- include "medusa-store.waitResources" .root | nindent 10 }}
        securityContext:
          {{- include "medusa-store.containerSecurityContext" .root | nindent 10 }}
        {{- with include "medusa-store.caMount" .root }}
        volumeMounts:
          {{- . | nindent 10 }}
        {{- end }}
      - name: migrate
        image: {{ include "medusa-store.image" $values.image }}
        imagePullPolicy: {{ $values.image.pullPolicy }}
        workingDir: /app
        args:
          - node
          - node_modules/@medusajs/cli/cli.js
          - db:migrate
          # Without it the command can stop at a question.
          - --execute-safe-links
          - --all-or-nothing
        env:
          {{- include "medusa-store.bootstrap.env" . | nindent 10 }}
        resources:
          {{- toYaml $values.bootstrap.resources | nindent 10 }}
        securityContext:
          {{- include "medusa-store.containerSecurityContext" .root | nindent 10 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          {{- with include "medusa-store.caMount" .root }}
          {{- . | nindent 10 }}
          {{- end }}
    containers:
      - name: bootstrap
        image: {{ include "medusa-store.image" $values.image }}
        imagePullPolicy: {{ $values.image.pullPolicy }}
        workingDir: /app
        args:
          - node
          - node_modules/@medusajs/cli/cli.js
          - exec
          - ./src/scripts/bootstrap.js
        env:
          {{- include "medusa-store.bootstrap.env" . | nindent 10 }}
          - name: BOOTSTRAP_ID
            value: {{ .id | quote }}
          - name: STORE_NAME
            value: {{ include "medusa-store.envLiteral" (include "medusa-store.displayName" .root) }}
          - name: STORE_CURRENCY
            value: {{ $values.store.currency | quote }}
          - name: STORE_COUNTRIES
            value: {{ join "," $values.store.countries | quote }}
          - name: SEED_SAMPLE_PRODUCTS
            value: {{ $values.store.sampleProducts | quote }}
          - name: PUBLISHABLE_KEY
            valueFrom:
              secretKeyRef:
                name: {{ include "medusa-store.secretName" .root }}
                key: publishable-key
          - name: ADMIN_EMAIL
            value: {{ include "medusa-store.envLiteral" (include "medusa-store.adminEmail" .root) }}
          - name: ADMIN_PASSWORD
            valueFrom:
              secretKeyRef:
                name: {{ include "medusa-store.secretName" .root }}
                key: admin-password
        resources:
          {{- toYaml $values.bootstrap.resources | nindent 10 }}
        securityContext:
          {{- include "medusa-store.containerSecurityContext" .root | nindent 10 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          {{- with include "medusa-store.caMount" .root }}
          {{- . | nindent 10 }}
          {{- end }}
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 64Mi
      {{- with include "medusa-store.caVolume" .root }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- if $values.restore.file }}
      {{- include "medusa-store.backup.volumes" .root | nindent 6 }}
      {{- else if include "medusa-store.backupVolume" .root }}
      # In no container. Where volumes are made for their first pod, this one would stay pending until the first backup, and
      # whoever waits for the release (helm --wait) with it.
      - name: backups
        persistentVolumeClaim:
          claimName: backups
      {{- end }}
{{- end -}}

{{/*
Puts a dump into a fresh database beside the running one and then swaps their names: files/restore.sh. It comes first,
because for the moment of the swap there may be no database to wait for.
*/}}
{{- define "medusa-store.restore.container" -}}
- name: restore
  image: {{ include "medusa-store.image" .Values.backup.image }}
  imagePullPolicy: {{ .Values.backup.image.pullPolicy }}
  command:
    - sh
    - /scripts/restore.sh
  env:
    - name: PGHOST
      value: postgres
    - name: PGPORT
      value: "5432"
    # Only the superuser can create and rename databases. No other pod but PostgreSQL's own has its password.
    - name: PGUSER
      value: postgres
    - name: PGPASSWORD
      valueFrom:
        secretKeyRef:
          name: {{ include "medusa-store.postgres.secretName" . }}
          key: superuser-password
    # The dump's own statements run as the owner.
    - name: RESTORE_OWNER
      value: medusa
    - name: RESTORE_OWNER_PASSWORD
      valueFrom:
        secretKeyRef:
          name: {{ include "medusa-store.postgres.secretName" . }}
          key: password
    - name: RESTORE_DATABASE
      value: medusa
    - name: RESTORE_FILE
      value: {{ .Values.restore.file | quote }}
    - name: RESTORE_ID
      value: {{ include "medusa-store.restore.id" . | quote }}
    - name: RESTORE_NAMESPACE
      value: {{ .Release.Namespace | quote }}
    {{- include "medusa-store.backup.env" . | nindent 4 }}
  resources:
    {{- toYaml .Values.backup.resources | nindent 4 }}
  securityContext:
    {{- include "medusa-store.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    {{- include "medusa-store.backup.mounts" . | nindent 4 }}
{{- end -}}

{{- define "medusa-store.bootstrap.env" -}}
{{ include "medusa-store.medusaEnv" .root }}
{{- range $name, $value := include "medusa-store.medusaSettings" .root | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}
