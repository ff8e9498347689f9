{{- define "webpage.labels" -}}
app.kubernetes.io/name: webpage
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "webpage.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "webpage.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
resources:
  requests:
    cpu: 50m
    memory: 64Mi
  limits:
    cpu: 500m
    memory: 256Mi
{{- end -}}

{{- define "webpage.image" -}}
{{- with .Values.image -}}
{{ ternary (printf "%s@%s" .repository .digest) (printf "%s:%s" .repository .tag) (ne .digest "") }}
{{- end -}}
{{- end -}}

{{- define "webpage.database" -}}
- name: PGHOST
  value: postgres
- name: PGUSER
  value: page
- name: PGDATABASE
  value: page
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: postgres
      key: password
{{- end -}}

{{- define "webpage.toDatabase" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - port: 53
      protocol: UDP
    - port: 53
- to:
    - podSelector:
        matchLabels:
          app.kubernetes.io/component: postgres
  ports:
    - port: 5432
{{- end -}}
