{{/*
Combinations that the schema can't refuse, because each value alone is fine. Included once, by the Deployment.
*/}}
{{- define "storekeeper.validate" -}}
{{- $_ := required "repository.url is required: the git repository with your store files, for example --set repository.url=https://git.example.com/acme/stores.git" .Values.repository.url -}}
{{- if hasPrefix "store-" .Release.Namespace -}}
{{- fail (printf "the namespace %s begins with store-, as those of stores do: install storekeeper into another one" .Release.Namespace) -}}
{{- end -}}
{{- include "storekeeper.validate.repository" . -}}
{{- include "storekeeper.validate.forge" . -}}
{{- include "storekeeper.validate.state" . -}}
{{- include "storekeeper.validate.page" . -}}
{{- end -}}

{{- define "storekeeper.validate.repository" -}}
{{- with .Values.repository -}}
{{- if regexMatch "^https?://[^/]*@" .url -}}
{{- fail "repository.url holds a login, and a ConfigMap would show it: take it out and name a Secret in repository.tokenSecret" -}}
{{- end -}}
{{- if and .tokenSecret.name .sshKeySecret.name -}}
{{- fail "repository.tokenSecret and repository.sshKeySecret exclude each other: one repository has one login" -}}
{{- end -}}
{{- end -}}
{{- range $part := list "repository" "charts" -}}
{{- with get $.Values $part -}}
{{- if and .sshKeySecret.name (not .knownHostsSecret.name) -}}
{{- fail (printf "%s.sshKeySecret needs %s.knownHostsSecret: the server's key must be checked against something" $part $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.trust -}}
{{- if and (ne .verifyCommits "off") (not .allowedSignersSecret.name) (not .openpgpKeysSecret.name) -}}
{{- fail (printf "trust.verifyCommits %s needs trust.allowedSignersSecret or trust.openpgpKeysSecret: whose signatures count?" .verifyCommits) -}}
{{- end -}}
{{- if and .forgeMergesBy (eq .verifyCommits "off") -}}
{{- fail "trust.forgeMergesBy needs trust.verifyCommits require or warn: who made a commit shows in its signature" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "storekeeper.validate.forge" -}}
{{- with .Values.forge -}}
{{- if .kind -}}
{{- if and (eq .kind "gitea") (not .api) -}}
{{- fail "forge.api is required with forge.kind gitea, for example https://git.example.com/api/v1" -}}
{{- end -}}
{{- if and .tokenSecret.name .app.id -}}
{{- fail "forge.tokenSecret and forge.app exclude each other: one forge has one login" -}}
{{- end -}}
{{- if not (or .tokenSecret.name .app.id) -}}
{{- fail "forge.kind needs forge.tokenSecret, or forge.app with id and keySecret: how does storekeeper log in?" -}}
{{- end -}}
{{- else if or .api .url .repository .tokenSecret.name .caSecret.name .app.id -}}
{{- fail "forge.kind is required with other settings of the forge: github, gitlab, gitea or bitbucket" -}}
{{- end -}}
{{- if ne (empty .app.id) (empty .app.keySecret.name) -}}
{{- fail "forge.app.id and forge.app.keySecret go together" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "storekeeper.validate.state" -}}
{{- if and .Values.state.persistence.enabled (gt (int .Values.replicas) 1) -}}
{{- fail "state.persistence needs replicas 1: several pods can't share the folder; keep the journal in PostgreSQL (journal.postgresqlSecret) instead, the rest may be lost" -}}
{{- end -}}
{{- with .Values.networkPolicy -}}
{{- if and .enabled $.Values.journal.postgresqlSecret.name (not .postgresql.namespaces) (not .postgresql.cidrs) -}}
{{- fail "networkPolicy.postgresql.namespaces or networkPolicy.postgresql.cidrs is required with journal.postgresqlSecret: the NetworkPolicy must open the way to the database (or set networkPolicy.enabled to false)" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "storekeeper.validate.page" -}}
{{- if and .Values.page.authHeader (not .Values.page.trustedProxies) -}}
{{- fail "page.authHeader needs page.trustedProxies: anybody could send the header" -}}
{{- end -}}
{{- if .Values.ingress.enabled -}}
{{- $_ := required "ingress.host is required with ingress.enabled" .Values.ingress.host -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.page.namespaces) (not .Values.networkPolicy.page.cidrs) -}}
{{- fail "networkPolicy.page.namespaces or networkPolicy.page.cidrs is required with ingress.enabled: the NetworkPolicy would keep the ingress controller out" -}}
{{- end -}}
{{- end -}}
{{- end -}}
