{{/*
What backup and restore share: where dumps lie, and room to work.
*/}}
{{- define "medusa-store.backup.env" -}}
- name: HOME
  value: /tmp
- name: STORE_ID
  value: {{ include "medusa-store.id" . | quote }}
- name: BACKUP_DESTINATION
  value: {{ .Values.backup.destination }}
- name: BACKUP_FOLDER
  value: /backups
- name: WORK_FOLDER
  value: /work
{{- if eq .Values.backup.destination "s3" }}
{{ include "medusa-store.s3Credentials" (dict "s3" .Values.backup.s3 "secret" "backup-s3") }}
{{- range $name, $value := include "medusa-store.s3Settings" .Values.backup.s3 | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
- name: S3_PREFIX
  value: {{ include "medusa-store.s3Prefix" .Values.backup.s3 | quote }}
{{- end }}
{{- end -}}

{{- define "medusa-store.backup.mounts" -}}
- name: scripts
  mountPath: /scripts
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if eq .Values.backup.destination "volume" }}
- name: backups
  mountPath: /backups
{{- else }}
- name: work
  mountPath: /work
{{- end }}
{{- end -}}

{{/*
Without tmp, which the bootstrap Job has anyway.
*/}}
{{- define "medusa-store.backup.volumes" -}}
- name: scripts
  configMap:
    name: backup
{{- if eq .Values.backup.destination "volume" }}
- name: backups
  persistentVolumeClaim:
    claimName: backups
{{- else }}
- name: work
  emptyDir:
    sizeLimit: {{ .Values.backup.workSize }}
{{- end }}
{{- end -}}
