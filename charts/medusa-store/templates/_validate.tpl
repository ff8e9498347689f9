{{/*
Combinations that the schema can't refuse, because each value alone is fine. Included once, by the API's Deployment.
*/}}
{{- define "medusa-store.validate" -}}
{{- $api := .Values.api -}}
{{- if gt (int $api.replicas) 1 -}}
{{- if eq .Values.redis.mode "none" -}}
{{- fail "api.replicas > 1 needs redis.mode: without Redis every pod has its own events, workflows and sessions, so orders get lost or doubled and logins jump" -}}
{{- end -}}
{{- if ne .Values.files.storage.accessMode "ReadWriteMany" -}}
{{- fail "api.replicas > 1 needs files.storage.accessMode ReadWriteMany: pods on other nodes could not mount the uploads" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.cookie.secure (not .Values.ingress.tls.enabled) -}}
{{- fail "cookie.secure is true but ingress.tls.enabled is false: over plain http browsers get no session cookie, so nobody can log in; set both or neither" -}}
{{- end -}}
{{- if and .Values.ingress.tls.enabled (not .Values.cookie.secure) -}}
{{- fail "cookie.secure is false but ingress.tls.enabled is true: session cookies would also travel in plain text; set both or neither" -}}
{{- end -}}
{{- if eq .Values.postgres.mode "external" -}}
{{- $_ := required "postgres.external.host is required with postgres.mode external" .Values.postgres.external.host -}}
{{- $_ := required "postgres.existingSecret is required with postgres.mode external: a generated password would not be the server's" .Values.postgres.existingSecret -}}
{{- if and .Values.network.enabled (not .Values.postgres.external.cidrs) (not .Values.postgres.external.namespace) -}}
{{- fail "postgres.external.cidrs or postgres.external.namespace is required: the NetworkPolicies must open the way to the server (or set network.enabled to false)" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.redis.mode "external" -}}
{{- $_ := required "redis.external.existingSecret is required with redis.mode external" .Values.redis.external.existingSecret -}}
{{- if and .Values.network.enabled (not .Values.redis.external.cidrs) (not .Values.redis.external.namespace) -}}
{{- fail "redis.external.cidrs or redis.external.namespace is required: the NetworkPolicies must open the way to Redis (or set network.enabled to false)" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.network.enabled (not .Values.network.ingressNamespaces) (not .Values.network.ingressCIDRs) -}}
{{- fail "network.ingressNamespaces or network.ingressCIDRs is required: the NetworkPolicies would keep the ingress controller out" -}}
{{- end -}}
{{- end -}}
