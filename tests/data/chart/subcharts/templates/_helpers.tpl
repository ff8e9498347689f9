{{- define "shared.name" }}parent wins in {{ .Chart.Name }}{{ end }}
