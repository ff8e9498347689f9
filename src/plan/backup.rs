//! The last backup of a store before it is deleted: what to do about it, by what the cluster shows. Pure.

use serde_json::{Value, json};

use super::moment;
use crate::manifest::Owner;
use crate::names::{ANNOTATION_FINAL_BACKUP, FINAL_BACKUP_NAME};

/// How long a finished backup is good enough, in seconds: the shop goes on selling until its namespace is deleted.
const GOOD_FOR: i64 = 900;

/// What to do about a store's final backup.
#[derive(Debug, Clone, PartialEq)]
pub enum BackupStep {
    /// Nobody asked for one.
    NotWanted,
    /// It is to be made: this Job.
    Make(Value),
    /// The Job with this identity is of an earlier removal, which was called off, or ended long ago: it says nothing about
    /// the data as it is now, and has to go before another one is made.
    Clear(String),
    /// It is on its way, with these words.
    Wait(String),
    /// It is done.
    Done,
    /// There is none and there will be none, for this reason.
    Failed(String),
}

/// Decides the next step. `since` is when the store's file went, `now` the time; `recorded` the CronJob that the store's inventory
/// names for this; `cron_jobs` those found now, and `job` what has the Job's name.
pub fn final_backup(
    owner: Owner<'_>,
    (since, now): (i64, i64),
    recorded: Option<&str>,
    cron_jobs: &[Value],
    job: Option<&Value>,
) -> BackupStep {
    let asking: Vec<_> = cron_jobs.iter().filter(|cron_job| wants_final_backup(cron_job)).collect();
    if asking.is_empty() && recorded.is_none() {
        return BackupStep::NotWanted;
    }
    if let Some(job) = job {
        return judge(job, since, now);
    }
    match (asking.as_slice(), recorded) {
        ([cron_job], _) => make(owner, since, cron_job),
        ([], name) => {
            BackupStep::Failed(format!("CronJob/{} is gone, which it is made of", name.unwrap_or_default()))
        }
        (several, _) => {
            let names: Vec<_> = several.iter().map(|it| text(it, "/metadata/name")).collect();
            BackupStep::Failed(format!("several CronJobs ask for it ({}), one at most may", names.join(", ")))
        }
    }
}

/// Whether a CronJob asks for a Job of its own before the store is deleted.
pub fn wants_final_backup(cron_job: &Value) -> bool {
    cron_job["metadata"]["annotations"][ANNOTATION_FINAL_BACKUP] == "true"
}

fn judge(job: &Value, since: i64, now: i64) -> BackupStep {
    let uid = text(job, "/metadata/uid").to_owned();
    if !job["metadata"]["deletionTimestamp"].is_null() {
        return BackupStep::Wait("the Job of an earlier one is being deleted".to_owned());
    }
    if job["metadata"]["annotations"][ANNOTATION_FINAL_BACKUP] != moment::utc(since) {
        return BackupStep::Clear(uid);
    }
    let conditions = job["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let condition = |name: &str| conditions.iter().find(|it| it["type"] == name && it["status"] == "True");
    if condition("Complete").is_some() {
        let ended = moment::seconds(text(job, "/status/completionTime"));
        let is_old = ended.is_some_and(|ended| now.saturating_sub(ended) > GOOD_FOR);
        return if is_old { BackupStep::Clear(uid) } else { BackupStep::Done };
    }
    if let Some(failed) = condition("Failed") {
        let why = [text(failed, "/reason"), text(failed, "/message")];
        let why: Vec<_> = why.into_iter().filter(|words| !words.is_empty()).collect();
        return BackupStep::Failed(format!("Job/{FINAL_BACKUP_NAME} failed ({})", why.join(": ")));
    }
    let begun = match text(job, "/status/startTime") {
        "" => format!("Job/{FINAL_BACKUP_NAME} has not started"),
        begun => format!("Job/{FINAL_BACKUP_NAME} runs since {begun}"),
    };
    let tries = job["status"]["failed"].as_u64().unwrap_or(0);
    BackupStep::Wait(if tries == 0 { begun } else { format!("{begun}, {tries} tries failed") })
}

/// Makes the Job of the CronJob's template, as `kubectl create job --from` does.
fn make(owner: Owner<'_>, since: i64, cron_job: &Value) -> BackupStep {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut spec = template["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        // It must be there when its end is looked at; and a schedule that is suspended is none of its business.
        spec.shift_remove("ttlSecondsAfterFinished");
        spec.shift_remove("suspend");
    }
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.extend(owner.labels().into_iter().map(|(key, value)| (key.to_owned(), value.into())));
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert(ANNOTATION_FINAL_BACKUP.to_owned(), moment::utc(since).into());
    let namespace = owner.store.namespace();
    let metadata = json!({ "name": FINAL_BACKUP_NAME, "namespace": namespace, "labels": labels, "annotations": annotations });
    BackupStep::Make(json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec }))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: i64 = 1_800_000_000;
    const NOW: i64 = SINCE + 3600;

    fn cron_job(annotation: &str) -> Value {
        json!({
            "metadata": { "name": "backup", "annotations": { ANNOTATION_FINAL_BACKUP: annotation } },
            "spec": { "suspend": true, "jobTemplate": {
                "metadata": { "labels": { "part": "backup" } },
                "spec": { "backoffLimit": 2, "suspend": true, "ttlSecondsAfterFinished": 60, "template": { "spec": {} } },
            } },
        })
    }

    fn step(recorded: Option<&str>, cron_jobs: &[Value], job: Option<&Value>) -> BackupStep {
        let (store, source) = ("acme".parse().unwrap(), "main".parse().unwrap());
        final_backup(Owner { store: &store, source: &source }, (SINCE, NOW), recorded, cron_jobs, job)
    }

    fn job(removal: &str, status: &Value) -> Value {
        let metadata = json!({ "uid": "u", "annotations": { ANNOTATION_FINAL_BACKUP: removal } });
        json!({ "metadata": metadata, "status": status })
    }

    #[test]
    fn no_backup_is_made_unless_the_stores_own_cronjob_asks_for_it() {
        for none in [&[][..], &[cron_job("false")], &[json!({ "metadata": { "name": "other" } })]] {
            assert_eq!(step(None, none, None), BackupStep::NotWanted);
        }
    }

    #[test]
    fn the_job_is_the_cronjobs_with_our_labels_and_the_removal_it_is_made_for() {
        let BackupStep::Make(job) = step(None, &[cron_job("true")], None) else { panic!() };
        assert_eq!(job["metadata"]["name"], "final-backup");
        assert_eq!(job["metadata"]["namespace"], "store-acme");
        assert_eq!(job["metadata"]["annotations"][ANNOTATION_FINAL_BACKUP], "2027-01-15T08:00:00Z");
        assert_eq!(job["metadata"]["labels"]["part"], "backup");
        assert_eq!(job["metadata"]["labels"]["storekeeper.dev/source"], "main");
        assert_eq!(job["spec"], json!({ "backoffLimit": 2, "template": { "spec": {} } }));
    }

    #[test]
    fn a_backup_of_an_earlier_removal_counts_for_nothing() {
        let done = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
        let asking = [cron_job("true")];
        let mut earlier = job("2027-01-15T07:59:59Z", &done);
        assert_eq!(step(None, &asking, Some(&earlier)), BackupStep::Clear("u".to_owned()));
        earlier["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:01Z".into();
        assert!(matches!(step(None, &asking, Some(&earlier)), BackupStep::Wait(_)));
        let ours = job("2027-01-15T08:00:00Z", &done);
        assert_eq!(step(None, &asking, Some(&ours)), BackupStep::Done);
    }

    #[test]
    fn a_backup_that_ended_long_ago_is_made_anew() {
        let ended = |seconds_ago: i64| {
            let status = json!({
                "conditions": [{ "type": "Complete", "status": "True" }],
                "completionTime": moment::utc(NOW - seconds_ago),
            });
            step(None, &[cron_job("true")], Some(&job("2027-01-15T08:00:00Z", &status)))
        };
        assert_eq!((ended(0), ended(900)), (BackupStep::Done, BackupStep::Done));
        assert_eq!(ended(901), BackupStep::Clear("u".to_owned()));
        assert_eq!(ended(-60), BackupStep::Done, "clocks of two machines differ");
    }

    #[test]
    fn a_backup_is_waited_for_until_it_has_ended_well_or_for_good() {
        let state =
            |status: &Value| step(None, &[cron_job("true")], Some(&job("2027-01-15T08:00:00Z", status)));
        let words = |status: &Value| match state(status) {
            BackupStep::Wait(words) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(words(&json!({})), "Job/final-backup has not started");
        let running = json!({ "startTime": "2027-01-15T08:00:09Z", "failed": 2 });
        assert_eq!(words(&running), "Job/final-backup runs since 2027-01-15T08:00:09Z, 2 tries failed");
        let not_yet = json!({ "conditions": [{ "type": "Complete", "status": "False" }, { "type": "FailureTarget", "status": "True" }] });
        assert!(words(&not_yet).contains("not started"));
        let failed = json!({ "conditions": [{ "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long" }] });
        let expected = "Job/final-backup failed (DeadlineExceeded: too long)";
        assert_eq!(state(&failed), BackupStep::Failed(expected.to_owned()));
    }

    #[test]
    fn a_backup_that_was_asked_for_is_not_skipped_when_its_cronjob_is_gone_or_not_the_only_one() {
        let BackupStep::Failed(why) = step(Some("backup"), &[], None) else { panic!() };
        assert_eq!(why, "CronJob/backup is gone, which it is made of");
        assert!(matches!(step(None, &[cron_job("true"), cron_job("true")], None), BackupStep::Failed(_)));
    }
}
