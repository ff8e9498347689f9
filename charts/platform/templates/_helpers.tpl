{{/*
The name of all objects, those of the whole cluster too: two releases of one name in different namespaces would share them,
which Helm refuses. Cut so that every suffix below fits a DNS label.
*/}}
{{- define "storekeeper.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- .Values.fullnameOverride | default $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "storekeeper.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "storekeeper.fullname" .) -}}
{{- end -}}

{{/*
Who makes storekeeper's requests, as the API server calls it.
*/}}
{{- define "storekeeper.username" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "storekeeper.serviceAccount" .) -}}
{{- end -}}

{{/*
The ClusterRole that storekeeper binds in each store's namespace.
*/}}
{{- define "storekeeper.storeRole" -}}
{{- include "storekeeper.fullname" . }}-store
{{- end -}}

{{/*
The namespace for dry runs.
*/}}
{{- define "storekeeper.tryOut" -}}
{{- include "storekeeper.fullname" . }}-try-out
{{- end -}}

{{/*
Labels that never change: selectors are immutable.
*/}}
{{- define "storekeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/*
Usage: include "storekeeper.labels" (dict "root" $ "component" "page")
*/}}
{{- define "storekeeper.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "storekeeper.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "storekeeper.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest | quote -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) | quote -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "storekeeper.tlsSecret" -}}
{{- .Values.ingress.tls.secretName | default (printf "%s-tls" (include "storekeeper.fullname" .)) -}}
{{- end -}}

{{- define "storekeeper.publicUrl" -}}
{{- if .Values.page.publicUrl -}}
{{- .Values.page.publicUrl -}}
{{- else if .Values.ingress.enabled -}}
{{- printf "%s://%s" (ternary "https" "http" .Values.ingress.tls.enabled) .Values.ingress.host -}}
{{- end -}}
{{- end -}}

{{/*
Peers of the NetworkPolicy.
Usage: include "storekeeper.peers" .Values.networkPolicy.page
*/}}
{{- define "storekeeper.peers" -}}
{{- range .namespaces }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . | quote }}
{{- end }}
{{- range .cidrs }}
- ipBlock:
    cidr: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
Ports of the NetworkPolicy.
*/}}
{{- define "storekeeper.ports" -}}
{{- range . }}
- port: {{ int . }}
  protocol: TCP
{{- end }}
{{- end -}}
