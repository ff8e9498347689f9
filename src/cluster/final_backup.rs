//! The last backup of a store, made before its namespace is deleted.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use serde::Serialize;
use serde_json::Value;

use super::mask::Mask;
use super::{Cluster, ClusterError, bounded, bounded_and_masked};
use crate::manifest::Owner;
use crate::names::{FIELD_MANAGER, FINAL_BACKUP_NAME};
use crate::plan::{self, BackupStep};

impl Cluster {
    /// Looks what the next step towards a store's final backup is; times as in [`plan::final_backup`]. One request when none is wanted, else two.
    pub async fn final_backup(
        &self,
        owner: Owner<'_>,
        times: (i64, i64),
        recorded: Option<&str>,
    ) -> Result<BackupStep, ClusterError> {
        let namespace = owner.store.namespace();
        let cron_jobs = Api::<CronJob>::namespaced(self.client.clone(), &namespace);
        let jobs = Api::<Job>::namespaced(self.client.clone(), &namespace);
        let selector: Vec<_> =
            owner.labels().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let ours = ListParams::default().labels(&selector.join(","));
        let found = bounded(format!("list the CronJobs in {namespace}"), cron_jobs.list(&ours)).await?;
        let found: Vec<_> = found.items.iter().map(value).collect();
        let unmade = plan::final_backup(owner, times, recorded, &found, None);
        if unmade == BackupStep::NotWanted {
            return Ok(unmade);
        }
        let act = format!("read Job/{FINAL_BACKUP_NAME} in {namespace}");
        let job = bounded(act, jobs.get_opt(FINAL_BACKUP_NAME)).await?.as_ref().map(value);
        Ok(plan::final_backup(owner, times, recorded, &found, job.as_ref()))
    }

    /// Takes a step towards a store's final backup, if there is something to do in it.
    pub async fn advance_final_backup(
        &self,
        owner: Owner<'_>,
        step: &BackupStep,
    ) -> Result<(), ClusterError> {
        let namespace = owner.store.namespace();
        let jobs = Api::<Job>::namespaced(self.client.clone(), &namespace);
        match step {
            BackupStep::Make(body) => {
                // By the field manager that marks what is ours: a store whose file comes back prunes it.
                let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
                let patch = Patch::Apply(body);
                let apply = jobs.patch(FINAL_BACKUP_NAME, &params, &patch);
                let act = format!("make Job/{FINAL_BACKUP_NAME} in {namespace}");
                bounded_and_masked(act, || Mask::of(body), apply).await?;
            }
            BackupStep::Clear(uid) => {
                let only = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
                let params = DeleteParams::background().preconditions(only);
                let act = format!("delete an earlier Job/{FINAL_BACKUP_NAME} in {namespace}");
                bounded(act, jobs.delete(FINAL_BACKUP_NAME, &params)).await?;
            }
            BackupStep::NotWanted | BackupStep::Wait(_) | BackupStep::Done | BackupStep::Failed(_) => {}
        }
        Ok(())
    }
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
