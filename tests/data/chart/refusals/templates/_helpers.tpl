{{- define "refusals.endless" }}{{ include "refusals.endless" . }}{{ end }}
