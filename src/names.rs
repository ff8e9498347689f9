//! Every name that storekeeper writes into a cluster or into git, each with its reason, and the validated
//! types that carry names: what parses into one of them can be used as it is.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The API version of store and fleet files.
pub const API_VERSION: &str = "storekeeper.dev/v1";

/// Where store files lie in a watched repository: directly in this folder, one file a store.
pub const STORES_FOLDER: &str = "stores";

/// Where charts lie in a watched repository, each in a folder of its own.
pub const CHARTS_FOLDER: &str = "charts";

/// The chart that comes with storekeeper, as fleet and store files name it.
pub const BUILT_IN_CHART: &str = "medusa-store";

/// The fleet file, at the root of a watched repository.
pub const FLEET_FILE: &str = "storekeeper.yaml";

/// The field manager of every server-side apply. It never changes: a renamed manager would leave fields behind
/// that nobody owns.
pub const FIELD_MANAGER: &str = "storekeeper";

/// Says in Kubernetes Events which controller they come from.
pub const EVENT_CONTROLLER: &str = "storekeeper";

/// Says in Kubernetes Events which of our processes they come from, with the name of its source behind.
pub const EVENT_INSTANCE_PREFIX: &str = "storekeeper-";

/// What the names of our Kubernetes Events begin with; the API server makes the rest.
pub const EVENT_NAME_PREFIX: &str = "storekeeper-";

/// What our Kubernetes Events say that was done when what they tell happened.
pub const EVENT_ACTION: &str = "Reconcile";

/// The reasons of our Kubernetes Events, as kubectl lists them and alerts match them.
pub mod event_reasons {
    /// The store's namespace was made.
    pub const NAMESPACE_MADE: &str = "NamespaceMade";
    /// A step on the way to READY is done.
    pub const STEP_DONE: &str = "StepDone";
    /// The store waits for something before it is made.
    pub const REQUESTED: &str = "Requested";
    /// The store is on its way to READY.
    pub const PROVISIONING: &str = "Provisioning";
    /// The store is READY.
    pub const READY: &str = "Ready";
    /// A shopper can't buy in it any more.
    pub const DEGRADED: &str = "Degraded";
    /// Something of the store is wrong.
    pub const FAILED: &str = "Failed";
    /// The store's file is gone.
    pub const DELETING: &str = "Deleting";
    /// An object was put back.
    pub const DRIFT_HEALED: &str = "DriftHealed";
    /// Somebody undoes again and again what is put back.
    pub const FIGHT_BEGUN: &str = "FightBegun";
    /// Nobody does any more.
    pub const FIGHT_ENDED: &str = "FightEnded";
    /// The store's removal is refused.
    pub const REMOVAL_REFUSED: &str = "RemovalRefused";
    /// The store, or the fleet, is paused.
    pub const PAUSED: &str = "Paused";
    /// The pause is over.
    pub const RESUMED: &str = "Resumed";
}

/// Says who manages an object, in the label that other tools read too. With [`LABEL_STORE`] it is half of the
/// selector that finds what is ours.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "storekeeper";

/// Names the store that an object belongs to.
pub const LABEL_STORE: &str = "storekeeper.dev/store";

/// Names the source (watched repository) that a store comes from, so that two daemons on one cluster never
/// touch each other's stores.
pub const LABEL_SOURCE: &str = "storekeeper.dev/source";

/// On a store's namespace, where the fleet has several clusters: the one that the store is on. A daemon of another
/// cluster that was sent to this API server by mistake leaves it alone.
pub const LABEL_CLUSTER: &str = "storekeeper.dev/cluster";

/// On a store's namespace: the host its Ingress answers to. It tells, after a restart too, which store holds
/// a host that two files claim.
pub const ANNOTATION_HOST: &str = "storekeeper.dev/host";

/// On a store's namespace: its removal was refused by the deletion budget. It stays refused, over restarts too,
/// until the fleet file approves it by name or the store's file comes back.
pub const ANNOTATION_REMOVAL_REFUSED: &str = "storekeeper.dev/removal-refused";

/// On a store's namespace: `true` when its file says `protect: true`. It is read when the file is gone, over restarts
/// too: such a store is never deleted.
pub const ANNOTATION_PROTECT: &str = "storekeeper.dev/protect";

/// On a store's namespace: until when its file pauses it, as RFC 3339 in UTC. It is read when the file is gone, over restarts
/// too: such a store is not deleted before.
pub const ANNOTATION_PAUSED_UNTIL: &str = "storekeeper.dev/paused-until";

/// On a store's namespace: since when no file names the store, as RFC 3339 in UTC. The grace period counts from here,
/// so a restart begins no new one.
pub const ANNOTATION_REMOVAL_SINCE: &str = "storekeeper.dev/removal-since";

/// On a store's CronJob, by its chart: with `true` a last Job is made of it before the store is deleted. On that Job:
/// the removal that it was made for, as [`ANNOTATION_REMOVAL_SINCE`] says it.
pub const ANNOTATION_FINAL_BACKUP: &str = "storekeeper.dev/final-backup";

/// The Job that is made of it. One name, so that a crash makes no second one.
pub const FINAL_BACKUP_NAME: &str = "final-backup";

/// On an object: with `keep` it stays when it is no longer rendered. Helm's own annotation, so that charts need
/// nothing of ours.
pub const ANNOTATION_RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// On an object that a chart's hook made: for which version of the store and which event.
pub const ANNOTATION_HOOK_RUN: &str = "storekeeper.dev/hook-run";

/// Says which part of a store an object is, in Kubernetes' recommended label: it tells the step on the way to READY.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";

/// On the pods of a Job, by Kubernetes: the Job's name.
pub const LABEL_JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// On a store's Ingress, by its chart: what the shop has to answer before it is READY, as words with commas between.
pub const ANNOTATION_PROBE: &str = "storekeeper.dev/probe";

/// On a store's Ingress, by its chart: the Secret that holds the key for asking, under [`PROBE_KEY`].
pub const ANNOTATION_PROBE_KEY_SECRET: &str = "storekeeper.dev/probe-key-secret";

/// The entry of that Secret.
pub const PROBE_KEY: &str = "publishable-key";

/// The inventory of a store: a ConfigMap of this name in its namespace.
pub const INVENTORY_NAME: &str = "storekeeper-inventory";

/// The key of the inventory's JSON in its ConfigMap.
pub const INVENTORY_KEY: &str = "inventory.json";

/// On the Lease of a member, one of the replicas that share a fleet: how it would share, in a word. What is a member's
/// Lease is found by it.
pub const LABEL_MEMBER: &str = "storekeeper.dev/member";

/// On the Lease of a member: what it tells the others, as JSON.
pub const ANNOTATION_WORD: &str = "storekeeper.dev/word";

/// Returns what the name of a member's Lease begins with; the API server makes the rest, so that each start has a
/// Lease of its own. (It also cuts the beginning to what a name may hold.)
pub fn member_lease_prefix(source: &SourceId, identity: &str) -> String {
    format!("storekeeper-{source}-{identity}-")
}

/// Returns the name of the ConfigMap that says which member owns which shard of a source's stores, in the daemon's
/// namespace.
pub fn shards_name(source: &SourceId) -> String {
    format!("storekeeper-{source}-shards")
}

/// Returns the name of the ConfigMap that says which stores were deleted lately, in the daemon's namespace.
pub fn removals_name(source: &SourceId) -> String {
    format!("storekeeper-{source}-removals")
}

/// The key of the text in such a ConfigMap.
pub const RECORD_KEY: &str = "record.json";

/// What a store's namespace is called: this prefix and the store's id.
pub const NAMESPACE_PREFIX: &str = "store-";

/// The longest store id in characters: with [`NAMESPACE_PREFIX`] it fills a DNS label of 63.
pub const STORE_ID_MAX: usize = 57;

/// The Pod Security level that each store's namespace enforces.
pub const POD_SECURITY_LEVEL: &str = "restricted";

/// The labels that set [`POD_SECURITY_LEVEL`]; warn and audit name the same level so that refusals show early.
pub const POD_SECURITY_LABELS: [&str; 3] = [
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/warn",
    "pod-security.kubernetes.io/audit",
];

/// On a store's namespace, by people: whenever its value changes, the repository is looked at and the store has a run, at
/// once. By convention the value is the time.
pub const ANNOTATION_REQUESTED_AT: &str = "storekeeper.dev/requested-at";

/// What the contexts of our statuses on commits begin with.
const STATUS_PREFIX: &str = "storekeeper";

/// Returns the context of the verdict on a commit as a whole. Where the fleet has several clusters, each has one.
pub fn status_all(cluster: Option<&ClusterName>) -> String {
    format!("{}/all", status_prefix(cluster))
}

/// Returns the context of the verdict on what a pull request would do.
pub fn status_plan(cluster: Option<&ClusterName>) -> String {
    format!("{}/plan", status_prefix(cluster))
}

/// Returns the context of the verdict on what a commit does to a store. Two names have another one, because
/// those of [`status_all`] and [`status_plan`] are taken.
pub fn status_context(cluster: Option<&ClusterName>, store: &StoreId) -> String {
    let prefix = status_prefix(cluster);
    match store.as_str() {
        "all" | "plan" => format!("{prefix}/store/{store}"),
        _ => format!("{prefix}/{store}"),
    }
}

fn status_prefix(cluster: Option<&ClusterName>) -> String {
    cluster.map_or_else(|| STATUS_PREFIX.to_owned(), |cluster| format!("{STATUS_PREFIX}/{cluster}"))
}

/// Returns the first line of our comment on a pull request, by which it is found again. Markdown does not show it.
pub fn comment_marker(cluster: Option<&ClusterName>) -> String {
    format!("<!-- {} -->", status_plan(cluster))
}

/// Returns the name of the check run on GitHub that holds what is wrong in the files of a pull request, where a GitHub App is
/// the login.
pub fn check_files(cluster: Option<&ClusterName>) -> String {
    format!("{} files", status_plan(cluster))
}

/// Returns the name of the report on Bitbucket that holds what is wrong in the files of a pull request. One a commit and
/// cluster, made anew under this name.
pub fn report_files(cluster: Option<&ClusterName>) -> String {
    cluster.map_or_else(|| "storekeeper-files".to_owned(), |cluster| format!("storekeeper-files-{cluster}"))
}

/// Who made that report, as its readers see it.
pub const REPORTER: &str = "storekeeper";

/// Returns what stands in the hidden first line of a comment at a line of a pull request, before the hash of what it says:
/// such a comment is made once.
pub fn files_marker(cluster: Option<&ClusterName>) -> String {
    cluster.map_or_else(|| "storekeeper:files".to_owned(), |cluster| format!("storekeeper:files:{cluster}"))
}

/// Whether a label or annotation of a namespace is one that we write: of the others nothing is kept.
pub fn is_our_mark(key: &str) -> bool {
    key.starts_with("storekeeper.dev/") || key == LABEL_MANAGED_BY || POD_SECURITY_LABELS.contains(&key)
}

/// Why a text is not the name it should be; fits "failed to parse: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the name is empty")]
    Empty,
    /// The text is longer than the kind of name allows.
    #[error("`{text}` has {length} characters, at most {max} are allowed")]
    TooLong {
        /// The offending text, shortened.
        text: String,
        /// Its length in characters.
        length: usize,
        /// The longest length allowed.
        max: usize,
    },
    /// The text holds something else than a DNS label.
    #[error(
        "`{text}` is not a DNS label: use lower-case letters, digits and `-`, and a letter or digit first and last"
    )]
    NotALabel {
        /// The offending text.
        text: String,
    },
    /// What reads URLs takes the text for an IP address.
    #[error("`{text}` ends in a number, so URLs take it for an IP address: use a host name")]
    Address {
        /// The offending text.
        text: String,
    },
    /// The text is not a host name.
    #[error("`{text}` is not a host name: use DNS labels joined by dots, such as `shop.example.com`")]
    NotAHost {
        /// The offending text.
        text: String,
    },
}

/// Names a store: an RFC 1123 label of at most [`STORE_ID_MAX`] characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, example = "acme")]
pub struct StoreId(String);

impl StoreId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the namespace that holds this store.
    pub fn namespace(&self) -> String {
        format!("{NAMESPACE_PREFIX}{}", self.0)
    }

    /// Returns the store that a namespace would hold by its name.
    pub fn of_namespace(name: &str) -> Option<Self> {
        name.strip_prefix(NAMESPACE_PREFIX)?.parse().ok()
    }
}

impl TryFrom<String> for StoreId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl FromStr for StoreId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        label(text, STORE_ID_MAX).map(Self)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a cluster, as fleet and store files do: an RFC 1123 label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClusterName(String);

impl ClusterName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        label(text, 63).map(Self)
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a watched repository on this cluster: an RFC 1123 label, set by the operator. Where that repository has stores for
/// several clusters, it says which of them this one is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    name: String,
    cluster: Option<ClusterName>,
}

impl SourceId {
    /// Returns the source's name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns the source as this cluster sees it.
    #[must_use]
    pub fn on(self, cluster: Option<ClusterName>) -> Self {
        Self { cluster, ..self }
    }

    /// Returns what the repository calls this cluster; none where it knows one cluster only.
    pub fn cluster(&self) -> Option<&ClusterName> {
        self.cluster.as_ref()
    }
}

impl FromStr for SourceId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(Self { name: label(text, 63)?, cluster: None })
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A host name that an Ingress answers to: lower-case DNS labels joined by dots, at most 253 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Host(String);

impl Host {
    /// Returns the host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host and every domain that it lies below.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        let below = self.0.match_indices('.').map(|(dot, _)| &self.0[dot + 1..]);
        std::iter::once(self.as_str()).chain(below)
    }
}

// For looking one up by its text.
impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let length = text.chars().count();
        if length > 253 {
            return Err(NameError::TooLong { text: shorten(text), length, max: 253 });
        }
        if !text.split('.').all(|part| label(part, 63).is_ok()) {
            return Err(NameError::NotAHost { text: shorten(text) });
        }
        if ends_in_a_number(text) {
            return Err(NameError::Address { text: shorten(text) });
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether URLs with this host lead to an IPv4 address, or nowhere: nobody would look the name up.
///
/// Source: the URL Standard's "ends in a number checker".
fn ends_in_a_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    match last.strip_prefix("0x") {
        Some(rest) => rest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn label(text: &str, max: usize) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let length = text.chars().count();
    if length > max {
        return Err(NameError::TooLong { text: shorten(text), length, max });
    }
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err(NameError::NotALabel { text: shorten(text) })
    }
}

/// Keeps an error message readable when the text is hostile: 80 characters, control characters escaped.
fn shorten(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_id_is_a_dns_label_that_fits_behind_the_prefix() {
        assert_eq!("acme-2".parse::<StoreId>().unwrap().namespace(), "store-acme-2");
        assert!("a".repeat(57).parse::<StoreId>().is_ok());
        for bad in ["", "Acme", "-a", "a-", "a.b", "a/b", "../x", "a\0", "ä", &"a".repeat(58)] {
            assert!(bad.parse::<StoreId>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn contexts_and_marks_carry_the_cluster_where_the_fleet_has_several() {
        let (acme, all): (StoreId, StoreId) = ("acme".parse().unwrap(), "all".parse().unwrap());
        assert_eq!(status_all(None), "storekeeper/all");
        assert_eq!(status_plan(None), "storekeeper/plan");
        assert_eq!(status_context(None, &acme), "storekeeper/acme");
        assert_eq!(status_context(None, &all), "storekeeper/store/all");
        assert_eq!(comment_marker(None), "<!-- storekeeper/plan -->");
        let cluster = "eu-1".parse().unwrap();
        let cluster = Some(&cluster);
        assert_eq!(status_all(cluster), "storekeeper/eu-1/all");
        assert_eq!(status_plan(cluster), "storekeeper/eu-1/plan");
        assert_eq!(status_context(cluster, &acme), "storekeeper/eu-1/acme");
        assert_eq!(status_context(cluster, &all), "storekeeper/eu-1/store/all");
        assert_eq!(comment_marker(cluster), "<!-- storekeeper/eu-1/plan -->");
        assert_eq!(check_files(cluster), "storekeeper/eu-1/plan files");
        assert_eq!(report_files(cluster), "storekeeper-files-eu-1");
        assert_eq!(files_marker(cluster), "storekeeper:files:eu-1");
    }

    #[test]
    fn a_host_is_labels_joined_by_dots() {
        assert!("acme.shops.example.com".parse::<Host>().is_ok());
        for bad in ["", ".", "a..b", "a.b.", "A.b", "a b", "a_b.c", "*.b", &"a.".repeat(127)] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_host_that_urls_take_for_an_address_is_refused() {
        for bad in ["127.0.0.1", "2130706433", "a.0x7f", "shop.0x", "shop.09"] {
            let error = bad.parse::<Host>().unwrap_err();
            assert!(matches!(error, NameError::Address { .. }), "{bad}: {error}");
        }
        for good in ["127.0.0.1.nip.io", "1.shop", "shop.0xy", "shop.x7", "shop.7a"] {
            assert!(good.parse::<Host>().is_ok(), "{good}");
        }
    }

    #[test]
    fn a_hostile_name_is_shortened_and_escaped_in_the_message() {
        let error = format!("{}\n\u{1b}", "x".repeat(500)).parse::<StoreId>().unwrap_err();
        assert!(error.to_string().len() < 200);
        let error = "a\n\u{1b}[31m".parse::<StoreId>().unwrap_err();
        assert!(!error.to_string().contains('\n') && !error.to_string().contains('\u{1b}'));
    }
}
