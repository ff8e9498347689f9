//! A small chart whose objects have fields that can't be changed in place: each turns with a value of the store file.

use std::fs;
use std::path::{Path, PathBuf};

/// The kind that it renders though no store has it unless the operator says so.
#[allow(dead_code, reason = "each test file uses a part of this")]
pub const KIND: &str = "rbac.authorization.k8s.io/RoleBinding";

/// Writes the chart into a folder and returns where it is.
pub fn write(folder: &Path) -> PathBuf {
    let chart = folder.join("turned-chart");
    fs::create_dir_all(chart.join("templates")).unwrap();
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: turned\nversion: 1.0.0\n").unwrap();
    fs::write(chart.join("values.yaml"), VALUES).unwrap();
    // Every world's fleet file names this one.
    fs::write(chart.join("values-local.yaml"), "{}\n").unwrap();
    for (name, text) in
        [("_pod.tpl", POD), ("recreated.yaml", RECREATED), ("refused.yaml", REFUSED), ("free.yaml", FREE)]
    {
        fs::write(chart.join("templates").join(name), text).unwrap();
    }
    chart
}

const VALUES: &str = r"
recreated: one
refused: one
free: one
note: one
canary: canary-of-the-chart
";

/// Passes Pod Security "restricted".
const POD: &str = r#"
{{- define "pod" -}}
nodeSelector: {}
securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
containers:
  - name: c
    image: example.com/x:1
    env: [{name: CANARY, value: {{ printf "%s-%s" .Values.canary .Values.refused | quote }}}]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
{{- end -}}
"#;

const RECREATED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {turn: {{ .Values.recreated }}}}
  template:
    metadata: {labels: {turn: {{ .Values.recreated }}, note: {{ .Values.note | quote }}}}
    spec: {{- include "pod" . | nindent 6 }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {turn: {{ .Values.recreated }}}}
  template:
    metadata: {labels: {turn: {{ .Values.recreated }}}}
    spec: {{- include "pod" . | nindent 6 }}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  {{- if ne .Values.recreated "one" }}
  clusterIP: None
  {{- end }}
  selector: {turn: {{ .Values.recreated }}}
  ports: [{port: 80}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: frozen}
immutable: true
data: {turn: {{ .Values.recreated }}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .Values.recreated }}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: pods}
spec:
  hard: {pods: "50"}
  scopes: [{{ ternary "BestEffort" "NotBestEffort" (eq .Values.recreated "one") }}]
"#;

const REFUSED: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database}
spec:
  replicas: 0
  serviceName: {{ .Values.refused }}
  selector: {matchLabels: {app: database}}
  template:
    metadata: {labels: {app: database}}
    spec: {{- include "pod" . | nindent 6 }}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  template:
    spec:
      restartPolicy: Never
      {{- include "pod" . | nindent 6 }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pictures}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: {{ .Values.refused }}
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Secret
metadata: {name: frozen}
immutable: true
data: {canary: {{ printf "%s-%s" .Values.canary .Values.refused | b64enc }}}
"#;

const FREE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: free}
data: {turn: {{ .Values.free }}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: free}
spec: {podSelector: {matchLabels: {turn: {{ .Values.free }}}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: last}
spec:
  schedule: "0 0 1 1 *"
  suspend: true
  jobTemplate:
    metadata: {labels: {turn: {{ .Values.free }}}}
    spec:
      template:
        spec:
          restartPolicy: Never
          {{- include "pod" . | nindent 10 }}
"#;
