//! The shape of store files and the fleet file, as far as types can say it: the JSON Schemas come from these.
//!
//! The reader (`shop`, `fleet`) checks more than a schema can, and reports it better; a test holds the two
//! together. Programs that write store files can serialize these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::fields::Catalog;

/// Every field of a store file by section.
pub(super) const STORE_FIELDS: Catalog = &[
    ("", &["apiVersion", "kind", "metadata", "spec"]),
    ("metadata", &["name"]),
    (
        "spec",
        &[
            "displayName",
            "host",
            "version",
            "image",
            "rollback",
            "chart",
            "values",
            "protect",
            "pause",
            "cluster",
        ],
    ),
    ("spec.image", &["repository", "tag", "digest"]),
    ("spec.pause", &["until", "reason"]),
];

/// Every field of a fleet file by section.
pub(super) const FLEET_FIELDS: Catalog = &[
    ("", &["apiVersion", "kind", "spec"]),
    (
        "spec",
        &[
            "domain",
            "domains",
            "chart",
            "charts",
            "values",
            "valueFiles",
            "deletionBudget",
            "deletionGracePeriodSeconds",
            "rollback",
            "pause",
            "changeWindows",
            "overrideWindows",
            "clusters",
            "cluster",
        ],
    ),
    ("spec.charts{}", &["folder", "git", "oci", "repository", "renderer", "fields", "values", "valueFiles"]),
    ("spec.charts{}.git", &["url", "revision", "path"]),
    ("spec.charts{}.oci", &["reference", "version", "digest"]),
    ("spec.charts{}.repository", &["url", "name", "version", "digest"]),
    ("spec.charts{}.fields", &["name", "displayName", "host", "imageRepository", "imageTag", "imageDigest"]),
    ("spec.deletionBudget", &["maxStores", "maxPercent", "windowMinutes", "approved"]),
    ("spec.pause", &["until", "reason"]),
    ("spec.changeWindows[]", &["days", "from", "to", "timeZone", "stores"]),
    ("spec.overrideWindows", &["until", "reason"]),
];

/// A store name, apart from its length.
pub(super) const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A host name, apart from its length.
pub(super) const HOST: &str = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$";

/// An image tag.
pub(super) const TAG: &str = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$";

/// An image without tag and digest, with or without a registry.
pub(super) const REPOSITORY: &str = r"^([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*(:[0-9]{1,5})?/)?[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$";

/// An image digest.
pub(super) const DIGEST: &str = r"^sha256:[0-9a-f]{64}$";

/// A value file in the repository or the chart: no `..`, no hidden files, no odd characters.
pub(super) const VALUE_FILE: &str =
    r"^(chart:|values/)([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\.ya?ml$";

/// A folder of a chart: no `..`, no hidden folders, no odd characters.
pub(super) const CHART_FOLDER: &str = r"^charts(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$";

/// A folder of a chart in a repository of its own.
pub(super) const GIT_PATH: &str = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$";

/// A git repository, without a login.
pub(super) const GIT_URL: &str = r"^((https?|ssh)://([A-Za-z0-9_-]+@)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/[A-Za-z0-9._~/-]+|[A-Za-z0-9_-]+@[A-Za-z0-9.-]+:[A-Za-z0-9._~/-]+)$";

/// A commit.
pub(super) const COMMIT: &str = r"^[0-9a-f]{40}$";

/// A chart in an OCI registry, without a version.
pub(super) const OCI_REFERENCE: &str =
    r"^oci://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$";

/// A Helm repository, without a login.
pub(super) const REPOSITORY_URL: &str = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$";

/// The name of a chart.
pub(super) const CHART_NAME: &str = r"^[a-z0-9]([-a-z0-9._]*[a-z0-9])?$";

/// A version by the rules of Semantic Versioning.
pub(super) const VERSION: &str =
    r"^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$";

/// A place in a chart's values.
pub(super) const VALUE_PATH: &str = r"^[A-Za-z0-9_-]+(\[[0-9]{1,2}\])*(\.[A-Za-z0-9_-]+(\[[0-9]{1,2}\])*)*$";

/// A moment with its offset, or a date.
pub(super) const UNTIL: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?$";

/// A day of the week.
pub(super) const DAY: &str = r"^(mon|tue|wed|thu|fri|sat|sun)$";

/// A time of the day, or its end.
pub(super) const TIME: &str = r"^(([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?|24:00(:00)?)$";

/// The name of a store, in which `*` stands for any letters.
pub(super) const PATTERN: &str = r"^[-a-z0-9*]+$";

/// One line of text that shows as it is written.
pub(super) const LINE: &str =
    r"^[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]*$";

/// One Medusa store: `stores/<name>.yaml`. Adding the file creates the store, removing it deletes the store
/// with all its data.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Store")]
pub struct StoreFile {
    /// The version of this format.
    #[schemars(extend("const" = "storekeeper.dev/v1"))]
    pub api_version: String,
    /// What this file describes.
    #[schemars(extend("const" = "Store"))]
    pub kind: String,
    /// Names the store.
    pub metadata: Metadata,
    /// What the store is like. Everything in it has a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<StoreSpec>,
}

/// Names a store.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The name of the store: the file's name without `.yaml`. Lower-case letters, digits and `-`, at most 57
    /// characters. It can't be changed later: another name is another store.
    #[schemars(
        length(max = 57),
        regex(pattern = NAME),
        example = &"acme"
    )]
    pub name: String,
}

/// What a store is like.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreSpec {
    /// What people call the store, 1 to 100 characters. Default: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 100),
        regex(
            pattern = LINE
        ),
        example = &"Acme Outdoor"
    )]
    pub display_name: Option<String>,
    /// The host name that the store answers to, in lower case, no `https://`, no port. Two stores can't have
    /// the same one, and it lies in a domain of the fleet. Default: `<name>.<domain of the fleet>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(
            pattern = HOST
        ),
        example = &"shop.example.com"
    )]
    pub host: Option<String>,
    /// The version of the Medusa image, in quotes: short for `image.tag`, and not together with it. Default:
    /// what the fleet and the chart say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = TAG), example = &"2.21.2")]
    pub version: Option<String>,
    /// The container image of the Medusa server. Default: what the fleet and the chart say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,
    /// What becomes of a version that does not come up: with `lastGood` what ran before is applied again, without a
    /// change in git, and held until a commit changes this store. Default: what the fleet says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"lastGood")]
    pub rollback: Option<RollbackSpec>,
    /// The chart, by a name of `charts` in the fleet file, or `medusa-store` for the built-in one. Default: what the fleet
    /// says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = NAME), example = &"webshop")]
    pub chart: Option<String>,
    /// Values for the chart, merged over those of the fleet: maps key by key, everything else is replaced, null
    /// takes a chart default away. `store.id`, `store.displayName`, `store.host` and `image.repository`, `.tag`,
    /// `.digest` (or where else the fields above go in this chart) can't be set here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Map<String, Value>>,
    /// Whether the store is kept when its file goes: with `true` nothing deletes it, no approval either. To delete
    /// it, push `protect: false` first and remove the file after that. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = true)]
    pub protect: Option<bool>,
    /// Until when nothing of the store is created, changed, healed, rolled back or deleted. Its shop is asked and its
    /// health shown all the same. Default: not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseSpec>,
    /// The cluster that the store is on, one of `clusters` in the fleet file. Another one moves the store: here it is removed, there
    /// it is made, without its data. Default: what the fleet says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = NAME), example = &"eu-1")]
    pub cluster: Option<String>,
}

/// Until when, and why.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseSpec {
    /// When it ends by itself: a moment with its offset, or a date, which is its beginning in UTC.
    #[schemars(regex(pattern = UNTIL), example = &"2026-12-01T08:00:00Z")]
    pub until: String,
    /// Why, in one line of 1 to 100 characters: it is shown wherever its effect is.
    #[schemars(
        length(min = 1, max = 100),
        regex(
            pattern = LINE
        ),
        example = &"stocktaking"
    )]
    pub reason: String,
}

/// What becomes of a version that does not come up.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RollbackSpec {
    /// It stays applied, and its store FAILED, until a commit changes the store.
    None,
    /// What ran before is applied again, unless its database has been migrated meanwhile.
    LastGood,
}

/// A container image.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    /// Registry and repository without tag, such as `ghcr.io/acme/medusa`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 255),
        regex(
            pattern = REPOSITORY
        ),
        example = &"ghcr.io/acme/medusa"
    )]
    pub repository: Option<String>,
    /// The tag, in quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = TAG), example = &"2.21.2")]
    pub tag: Option<String>,
    /// The digest, which wins over the tag: the store runs exactly this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = DIGEST),
        example = &"sha256:0000000000000000000000000000000000000000000000000000000000000000"
    )]
    pub digest: Option<String>,
}

/// What holds for all stores of the repository: `storekeeper.yaml` at its root.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Fleet")]
pub struct FleetFile {
    /// The version of this format.
    #[schemars(extend("const" = "storekeeper.dev/v1"))]
    pub api_version: String,
    /// What this file describes.
    #[schemars(extend("const" = "Fleet"))]
    pub kind: String,
    /// What holds for all stores.
    pub spec: FleetSpec,
}

/// What holds for all stores.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetSpec {
    /// The domain below which stores get their default host, `<name>.<domain>`. At most 195 characters, so that
    /// every store's name fits before it.
    #[schemars(
        length(max = 195),
        regex(
            pattern = HOST
        ),
        example = &"shops.example.com"
    )]
    pub domain: String,
    /// Further domains in which hosts of stores may lie: each and what is below it. Any other host is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        inner(length(max = 253), regex(
            pattern = HOST
        )),
        extend("uniqueItems" = true),
        example = ["acme.example"]
    )]
    pub domains: Option<Vec<String>>,
    /// The chart of stores that name none: a name of `charts`, or `medusa-store`, which comes with storekeeper.
    /// Default: `medusa-store`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = NAME), example = &"medusa-store")]
    pub chart: Option<String>,
    /// Charts by the names that stores know them by. The operator says which sources are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), extend("propertyNames" = {"pattern": NAME, "maxLength": 63}))]
    pub charts: Option<BTreeMap<String, ChartSpec>>,
    /// Chart values for all stores of the fleet's chart. They win over the chart's defaults; value files and stores win
    /// over them. A chart of `charts` has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Map<String, Value>>,
    /// Files with chart values for all stores of the fleet's chart, merged in this order over `values`: a path in this
    /// repository under `values/`, or `chart:` and a path in the chart. Local and production differ by this list only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        inner(regex(
            pattern = VALUE_FILE
        )),
        extend("uniqueItems" = true),
        example = ["values/production.yaml", "chart:values-local.yaml"]
    )]
    pub value_files: Option<Vec<String>>,
    /// How many stores may be deleted without anybody naming them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_budget: Option<DeletionBudgetSpec>,
    /// How long a store whose file is gone is kept before it is deleted, in seconds, at most 2592000 (30 days). A
    /// file that comes back until then keeps it. Default: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 2_592_000), example = 300)]
    pub deletion_grace_period_seconds: Option<u32>,
    /// What becomes of a version that does not come up, in stores that don't say so themselves. Default: `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"lastGood")]
    pub rollback: Option<RollbackSpec>,
    /// Until when nothing of any store is created, changed, healed, rolled back or deleted. Default: not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseSpec>,
    /// When commits' changes are carried out, creating and deleting included. A store that any window names waits until
    /// one of these is open; drift is healed all the time. Default: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    pub change_windows: Option<Vec<ChangeWindowSpec>>,
    /// Until when all windows count as open, for an emergency. Default: they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_windows: Option<PauseSpec>,
    /// The clusters that the stores are on, by the names that their daemons were given (`--cluster`). Default: there is one, and
    /// nobody names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 50),
        inner(length(max = 63), regex(pattern = NAME)),
        extend("uniqueItems" = true),
        example = ["eu-1", "us-1"]
    )]
    pub clusters: Option<Vec<String>>,
    /// The cluster of stores that name none, one of `clusters`. Default: every store has to name its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = NAME), example = &"eu-1")]
    pub cluster: Option<String>,
}

/// A chart: where it comes from, and what the fleet sets in it. Without `folder`, `git`, `oci` and `repository` it is the
/// built-in one.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("not" = {"anyOf": [
    {"required": ["folder", "git"]}, {"required": ["folder", "oci"]}, {"required": ["folder", "repository"]},
    {"required": ["git", "oci"]}, {"required": ["git", "repository"]}, {"required": ["oci", "repository"]},
]}))]
pub struct ChartSpec {
    /// A folder under `charts/` in this repository, read at the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = CHART_FOLDER), example = &"charts/webshop")]
    pub folder: Option<String>,
    /// A commit of another git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitChartSpec>,
    /// An artifact of an OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciChartSpec>,
    /// A chart of a Helm repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryChartSpec>,
    /// What renders it: storekeeper itself, or the helm program. Default: `native`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"native")]
    pub renderer: Option<RendererSpec>,
    /// Where in its values the fields of a store file go. What is not named here goes nowhere. Default: as in the built-in
    /// chart, `store.id`, `store.displayName`, `store.host`, `image.repository`, `image.tag` and `image.digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldPathsSpec>,
    /// Values for all stores of this chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Map<String, Value>>,
    /// Files with values for all stores of this chart, merged in this order over `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        inner(regex(
            pattern = VALUE_FILE
        )),
        extend("uniqueItems" = true),
        example = ["values/webshop.yaml"]
    )]
    pub value_files: Option<Vec<String>>,
}

/// A chart in a git repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitChartSpec {
    /// The repository, without a login.
    #[schemars(regex(pattern = GIT_URL), example = &"https://git.example.com/charts.git")]
    pub url: String,
    /// The full id of a commit: a branch or a tag may be moved.
    #[schemars(regex(pattern = COMMIT), example = &"0000000000000000000000000000000000000000")]
    pub revision: String,
    /// The chart's folder. Default: the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = GIT_PATH), example = &"charts/webshop")]
    pub path: Option<String>,
}

/// A chart in an OCI registry.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OciChartSpec {
    /// Registry and repository, without a version.
    #[schemars(regex(pattern = OCI_REFERENCE), example = &"oci://registry.example.com/charts/webshop")]
    pub reference: String,
    /// The chart's version.
    #[schemars(regex(pattern = VERSION), example = &"1.2.3")]
    pub version: String,
    /// The digest of the artifact's manifest, which decides: `helm push` and `helm pull` print it.
    #[schemars(
        regex(pattern = DIGEST),
        example = &"sha256:0000000000000000000000000000000000000000000000000000000000000000"
    )]
    pub digest: String,
}

/// A chart in a Helm repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RepositoryChartSpec {
    /// The repository, without a login: where its `index.yaml` lies.
    #[schemars(regex(pattern = REPOSITORY_URL), example = &"https://charts.example.com")]
    pub url: String,
    /// The chart's name in it.
    #[schemars(length(max = 250), regex(pattern = CHART_NAME), example = &"webshop")]
    pub name: String,
    /// The chart's version.
    #[schemars(regex(pattern = VERSION), example = &"1.2.3")]
    pub version: String,
    /// The digest of the chart's archive, which decides: `digest` in the repository's `index.yaml`, with `sha256:` before it.
    #[schemars(
        regex(pattern = DIGEST),
        example = &"sha256:0000000000000000000000000000000000000000000000000000000000000000"
    )]
    pub digest: String,
}

/// What renders a chart.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RendererSpec {
    /// storekeeper itself.
    Native,
    /// The helm program of the operator.
    Helm,
}

/// Where in a chart's values the fields of a store file go: paths such as `ingress.hosts[0].host`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldPathsSpec {
    /// The store's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = VALUE_PATH), example = &"fullnameOverride")]
    pub name: Option<String>,
    /// `spec.displayName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = VALUE_PATH), example = &"shop.title")]
    pub display_name: Option<String>,
    /// `spec.host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = VALUE_PATH), example = &"ingress.hosts[0].host")]
    pub host: Option<String>,
    /// `spec.image.repository`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = VALUE_PATH), example = &"image.repository")]
    pub image_repository: Option<String>,
    /// `spec.image.tag` and `spec.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = VALUE_PATH), example = &"image.tag")]
    pub image_tag: Option<String>,
    /// `spec.image.digest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = VALUE_PATH), example = &"image.digest")]
    pub image_digest: Option<String>,
}

/// Hours of days of the week in which changes to some stores are carried out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeWindowSpec {
    /// The days on which it begins. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1),
        inner(regex(pattern = DAY)),
        extend("uniqueItems" = true),
        example = ["mon", "tue"]
    )]
    pub days: Option<Vec<String>>,
    /// When it opens, in quotes: `"09:00"`, with seconds if need be.
    #[schemars(regex(pattern = TIME), example = &"09:00")]
    pub from: String,
    /// When it closes, in quotes. A time before `from` is one of the next day; `"24:00"` is the end of the day.
    #[schemars(regex(pattern = TIME), example = &"17:00")]
    pub to: String,
    /// The time zone by its name in the tz database, such as `Europe/Berlin` or `UTC`.
    #[schemars(example = &"Europe/Berlin")]
    pub time_zone: String,
    /// The stores that it is for, by name; `*` stands for any letters. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1),
        inner(length(max = 57), regex(pattern = PATTERN)),
        extend("uniqueItems" = true),
        example = ["shop-*"]
    )]
    pub stores: Option<Vec<String>>,
}

/// How many stores may be deleted without anybody naming them.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletionBudgetSpec {
    /// The number of stores that may go within the window; when more files vanish, none of these stores is
    /// deleted. Default: 3. With 0 every deletion needs an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 4_294_967_295_u32), example = 3)]
    pub max_stores: Option<u32>,
    /// The part of the fleet that may go within the window, in percent, rounded up to whole stores: a fleet of one
    /// can be deleted with any part but 0. The smaller one of this and `maxStores` holds. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 100), example = 50)]
    pub max_percent: Option<u32>,
    /// How long a deleted store counts, in minutes, at most 43200 (30 days). With 0 only those count that are on
    /// their way out now. Default: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 43_200), example = 60)]
    pub window_minutes: Option<u32>,
    /// Stores whose deletion is meant: they don't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        inner(length(max = 57), regex(pattern = NAME)),
        extend("uniqueItems" = true),
        example = ["old-store"]
    )]
    pub approved: Option<Vec<String>>,
}
