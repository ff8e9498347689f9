{{- /* changes the values for every later file */ -}}
{{- define "references.change" -}}
{{- $_ := set .Values "changed" "yes" -}}
{{- $_ := set .Values.map "b" "two" -}}
{{- end -}}
{{- define "references.dot" }}{{- $_ := set . "own" "mine" }}{{ .own }}{{ end -}}
