{{- define "shared.name" }}sub{{ end }}
