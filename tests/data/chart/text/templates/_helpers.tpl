{{/* A comment before */}}
{{- define "text.name" -}}
{{- /* left only */}} {{ .Values.name -}} {{/* right only */ -}}
  {{- end -}}
{{ define "text.empty" }}  {{/* nothing */}}  {{ end }}
