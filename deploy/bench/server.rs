//! The cluster that is measured on: one of the bench's own, fresh for each size, with its audit log on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::audit::Audit;
use super::common::cluster::Cluster;
use super::process;

/// A running devcluster. It goes down with this.
pub struct Server {
    devcluster: PathBuf,
    state: PathBuf,
    components: Vec<(String, u32)>,
    pub cluster: Cluster,
}

impl Server {
    pub fn up(devcluster: &Path, state: PathBuf) -> Self {
        let owner = std::process::id().to_string();
        let mut command = Command::new(devcluster);
        command.arg("--state").arg(&state).args(["up", "--node", "simulated", "--owner-pid", &owner]);
        let status = command.stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "the cluster in {} did not come up", state.display());
        let text = std::fs::read_to_string(state.join("cluster.json")).unwrap();
        let known: Value = serde_json::from_str(&text).unwrap();
        let components = known["components"].as_array().unwrap().iter().map(|component| {
            let pid = component["process"]["pid"].as_u64().unwrap();
            (component["name"].as_str().unwrap().to_owned(), u32::try_from(pid).unwrap())
        });
        let components = components.collect();
        let cluster = Cluster::connect(state.join("kubeconfig"));
        Self { devcluster: devcluster.to_owned(), state, components, cluster }
    }

    /// Returns the seconds of processor time that all components have used.
    pub fn cpu_seconds(&self) -> f64 {
        self.components.iter().map(|(_, pid)| process::cpu_seconds(*pid)).sum()
    }

    /// Returns the most memory that each component has had, in MiB.
    pub fn peaks(&self) -> Value {
        let peaks = self.components.iter().map(|(name, pid)| (name.clone(), process::peak_rss_mib(*pid)));
        peaks.map(|(name, peak)| (name, super::figures::rounded(peak))).collect()
    }

    pub fn audit(&self) -> Audit {
        Audit::from_now(self.state.join("audit.log"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = Command::new(&self.devcluster);
        command.arg("--state").arg(&self.state).arg("down").stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => {}
            _ => eprintln!("the cluster in {} did not go down cleanly", self.state.display()),
        }
    }
}
