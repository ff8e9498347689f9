{{- define "bytes.file" }}{{ .Files.Get "files/data.bin" }}{{ end }}
{{- define "bytes.cut" }}<{{ trunc 3 .Values.umlauts }}>{{ end }}
