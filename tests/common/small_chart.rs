//! A chart of a few objects that need nothing to run, for tests of what happens to whole stores.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::daemon::Daemon;
use super::{World, until};

const ADMISSION: &str = "admissionregistration.k8s.io/v1";

const OBJECTS: &str = r#"
{{- with .Values.wrong }}{{ fail . }}{{ end }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  name: {{ .Values.store.displayName | quote }}
---
apiVersion: v1
kind: Secret
metadata:
  name: password
data:
  password: {{ dig "data" "password" (randAlphaNum 20 | b64enc) (lookup "v1" "Secret" .Release.Namespace "password") }}
{{- with .Values.backup }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: backup
  annotations:
    storekeeper.dev/final-backup: "true"
spec:
  schedule: "0 0 31 2 *"
  suspend: true
  jobTemplate:
    spec:
      backoffLimit: 0
      {{- if eq . "bad" }}
      activeDeadlineSeconds: 1
      {{- end }}
      template:
        spec:
          restartPolicy: Never
          {{- if eq . "bad" }}
          nodeSelector:
            there-is: no-such-node
          {{- end }}
          securityContext:
            runAsNonRoot: true
            runAsUser: 10001
            seccompProfile:
              type: RuntimeDefault
          containers:
            - name: backup
              image: backup
              securityContext:
                allowPrivilegeEscalation: false
                capabilities:
                  drop: [ALL]
{{- end }}
"#;

impl World {
    /// Starts a daemon that makes stores of a few objects. With the chart value `backup`, `good` or `bad`, they ask for
    /// a final backup, which ends that way; with `wrong` they do not render.
    pub fn start_small(&self) -> Daemon {
        self.start_small_on(&self.cluster.kubeconfig)
    }

    /// The same through another kubeconfig.
    pub fn start_small_on(&self, kubeconfig: &Path) -> Daemon {
        self.start_small_with(&self.repository.url(), kubeconfig, &[])
    }

    /// The same with a repository's URL and further arguments.
    pub fn start_small_with(&self, url: &str, kubeconfig: &Path, more: &[&str]) -> Daemon {
        let chart = self.folder.path().join("small-chart");
        fs::create_dir_all(chart.join("templates")).unwrap();
        fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: small\nversion: 0.1.0\n").unwrap();
        for values in ["values.yaml", "values-local.yaml"] {
            fs::write(chart.join(values), "{}\n").unwrap();
        }
        fs::write(chart.join("templates/objects.yaml"), OBJECTS).unwrap();
        let more = [&["--probe", "objects", "--chart", chart.to_str().unwrap()], more].concat();
        Daemon::start_on("127.0.0.1:0", self.folder.path(), url, &self.source, kubeconfig, &more)
    }

    /// Writes a store file with further lines of its spec.
    pub fn write_store_with(&self, name: &str, more: &str) {
        self.write_store(name, name);
        let path = self.repository.checkout.join(self.file(name));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}  {more}\n")).unwrap();
    }

    /// Makes a world with these stores of the small chart, READY, and the daemon that made them so.
    pub fn with_small(names: &[&str], fleet: &str) -> (Self, Daemon) {
        let world = Self::new();
        world.write_fleet(fleet);
        for name in names {
            world.write_store(name, name);
        }
        world.repository.push("the first stores");
        let daemon = world.start_small();
        for name in names {
            world.until_state(&daemon, name, "READY");
        }
        (world, daemon)
    }

    /// Returns an annotation of a store's namespace.
    pub fn mark(&self, name: &str, annotation: &str) -> Option<String> {
        let namespace = self.cluster.namespace(&self.namespace(name))?;
        let annotations = &namespace["metadata"]["annotations"];
        annotations[format!("storekeeper.dev/{annotation}")].as_str().map(str::to_owned)
    }

    /// Whether a store's namespace is there and stays.
    pub fn stays(&self, name: &str) -> bool {
        let namespace = self.cluster.namespace(&self.namespace(name));
        namespace.is_some_and(|it| it["metadata"]["deletionTimestamp"].is_null())
    }

    /// Returns the identity of a store's namespace.
    pub fn uid(&self, name: &str) -> Option<String> {
        let namespace = self.cluster.namespace(&self.namespace(name))?;
        namespace["metadata"]["uid"].as_str().map(str::to_owned)
    }

    /// Removes a store's file and pushes.
    pub fn remove_store(&self, name: &str) -> String {
        self.repository.remove(&self.file(name));
        self.repository.push(&format!("remove {name}"))
    }

    /// Makes the API server refuse to delete a store's namespace, until [`World::allow_deletion`].
    pub fn refuse_deletion(&self, name: &str) {
        let policy = self.policy(name);
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["namespaces"],
            "resourceNames": [self.namespace(name)],
        });
        let body = json!({
            "metadata": { "name": policy },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [rule] },
                "validations": [{ "expression": "false", "message": "nobody deletes acme on a Sunday" }],
            },
        });
        self.cluster.create(ADMISSION, "ValidatingAdmissionPolicy", "", body);
        let binding = json!({
            "metadata": { "name": policy },
            "spec": { "policyName": policy, "validationActions": ["Deny"] },
        });
        self.cluster.create(ADMISSION, "ValidatingAdmissionPolicyBinding", "", binding);
        until("the policy is in force", || {
            let refused = self.cluster.try_delete_namespace(&self.namespace(name));
            refused.contains("on a Sunday").then_some(())
        });
    }

    /// Takes the refusal back.
    pub fn allow_deletion(&self, name: &str) {
        for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
            self.cluster.delete(ADMISSION, kind, "", &self.policy(name));
        }
    }

    fn policy(&self, name: &str) -> String {
        format!("{}-no-delete", self.store(name))
    }
}
