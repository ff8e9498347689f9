//! Reading one store file.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use super::chart::{Charts, FieldPaths, StoreChart};
use super::clusters::{self, Place};
use super::fields::{Reader, Section, lookup, plain_text};
use super::file::{DIGEST, REPOSITORY, STORE_FIELDS, TAG};
use super::pause;
use super::problem::{is_unprintable, quote};
use super::value_path::{Found, ValuePath};
use super::yaml::{Node, Position, Source};
use super::{FileContent, Fleet, Image, Limits, Pause, Places, Problem, Rollback, Store, values};
use crate::names::{API_VERSION, ClusterName, Host, StoreId};

/// The longest display name in characters.
const DISPLAY_NAME_MAX: usize = 100;

static TAG_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(TAG));
static REPOSITORY_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(REPOSITORY));
static DIGEST_SHAPE: LazyLock<Regex> = LazyLock::new(|| shape(DIGEST));

/// Compiles a pattern of the schema, so that the reader and the schema can't disagree about it.
pub(super) fn shape(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of the schemas are literals, and a test compiles each")
}

/// A store file read on its own: what still is open is whether another file claims the same host.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub store: Arc<Store>,
    /// What the file itself says of versions that do not come up.
    rollback: Option<Rollback>,
    /// The chart that the file itself names.
    chart: Option<String>,
    /// The cluster that the file itself names.
    cluster: Option<ClusterName>,
    /// Whether the file leaves the host to the default.
    pub host_is_default: bool,
    /// The line where the host is set; where the name is set when the host is the default.
    pub host_line: usize,
    host_column: usize,
    /// That line, for the problem that there is should another store have the host. The text of the file is at
    /// hand only while it is read.
    host_snippet: Option<Box<str>>,
}

impl Draft {
    /// Makes a problem of the place where the host is set.
    pub fn host_problem(&self, message: &str) -> Problem {
        let snippet = self.host_snippet.as_deref();
        Problem::at(&self.store.file, self.host_line, self.host_column, message, snippet)
    }

    /// Makes the store follow a fleet file that may have changed. It stays the same one when nothing of it did. Returns
    /// whether that is all: with another chart the file has to be read again.
    pub fn follow(&mut self, fleet: &Fleet) -> bool {
        let chart = match fleet.charts.find(self.chart.as_deref()) {
            Some(Ok(chart)) if chart.reads_like(&self.store.chart) => chart,
            _ => return false,
        };
        let Ok(cluster) = fleet.clusters.find_again(self.cluster.as_ref()) else { return false };
        let default = self.host_is_default.then(|| default_host(&self.store.id, &fleet.domain)).flatten();
        let moved = default.filter(|host| *host != self.store.host);
        let rollback = self.rollback.unwrap_or(fleet.rollback);
        let is_same = rollback == self.store.rollback
            && cluster == self.store.cluster
            && Arc::ptr_eq(&self.store.chart, chart);
        if moved.is_none() && is_same {
            return true;
        }
        let store = Arc::make_mut(&mut self.store);
        store.rollback = rollback;
        store.cluster = cluster;
        store.host = moved.unwrap_or_else(|| store.host.clone());
        store.chart = Arc::clone(chart);
        store.digest = values::digest(store);
        true
    }
}

/// What a store file gave.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The store, or why there is none.
    pub draft: Result<Draft, Vec<Problem>>,
    /// The name in `metadata.name` when it is a good name: of another store when the file is wrong.
    pub claims: Option<StoreId>,
    /// The cluster that the store is meant to be on, as far as the file says it.
    pub cluster: Option<ClusterName>,
}

/// Reads `stores/<id>.yaml`.
pub(super) fn read(
    file: &str,
    content: &FileContent,
    id: &StoreId,
    fleet: &Fleet,
    limits: &Limits,
) -> Outcome {
    let source = match Source::new(file, content, limits) {
        Ok(source) => source,
        Err(problem) => return Outcome { draft: Err(vec![problem]), claims: None, cluster: None },
    };
    let mut reader = Reader::new(source, STORE_FIELDS, limits);
    let Some(root) = reader.document(limits) else {
        return Outcome { draft: Err(reader.into_problems()), claims: None, cluster: None };
    };
    let (claims, cluster) = (claimed_name(&root), fleet.clusters.meant(&root));
    let parts = store(&mut reader, &root, id, fleet);
    let draft = parts.and_then(|parts| parts.into_draft(&source, id.clone(), fleet));
    let draft = match draft {
        Some(draft) if reader.is_clean() => Ok(draft),
        _ => Err(reader.into_problems()),
    };
    Outcome { draft, claims, cluster }
}

/// Reads of a file that can't be a store's only which store it says that it is.
pub(super) fn claims(file: &str, content: &FileContent, limits: &Limits) -> Option<StoreId> {
    let source = Source::new(file, content, limits).ok()?;
    let root = Reader::new(source, STORE_FIELDS, limits).document(limits)?;
    claimed_name(&root)
}

fn claimed_name(root: &Node) -> Option<StoreId> {
    let name = lookup(root, "metadata").and_then(|metadata| lookup(metadata, "name"))?;
    plain_text(name)?.parse().ok()
}

struct Parts {
    name_at: Position,
    display_name: Option<String>,
    host: Host,
    host_at: Option<Position>,
    image: Image,
    rollback: Option<Rollback>,
    chart_name: Option<String>,
    chart: Option<Arc<StoreChart>>,
    values: Map<String, Value>,
    places: Places,
    protect: bool,
    pause: Option<Pause>,
    place: Place,
}

impl Parts {
    fn into_draft(self, source: &Source<'_>, id: StoreId, fleet: &Fleet) -> Option<Draft> {
        let Self {
            name_at,
            display_name,
            host,
            host_at,
            image,
            rollback: own_rollback,
            chart_name,
            chart,
            values,
            places,
            protect,
            pause,
            place,
        } = self;
        let at = host_at.unwrap_or(name_at);
        let display_name = display_name.unwrap_or_else(|| id.to_string());
        let (file, digest) = (source.file.to_owned(), String::new());
        let (chart, rollback) = (chart?, own_rollback.unwrap_or(fleet.rollback));
        let mut store = Store {
            id,
            display_name,
            host,
            image,
            values,
            protect,
            rollback,
            pause,
            cluster: place.cluster,
            file,
            chart,
            places,
            digest,
        };
        store.digest = values::digest(&store);
        Some(Draft {
            store: Arc::new(store),
            rollback: own_rollback,
            chart: chart_name,
            cluster: place.named,
            host_is_default: host_at.is_none(),
            host_line: at.line,
            host_column: at.column,
            host_snippet: source.problem(at, "").snippet.map(String::into_boxed_str),
        })
    }
}

fn default_host(id: &StoreId, domain: &Host) -> Option<Host> {
    format!("{id}.{domain}").parse().ok()
}

/// Checks `apiVersion` and `kind`. When they say that this is something else, nothing more is worth reading.
pub(super) fn header<'n>(reader: &mut Reader<'_>, root: &'n Node, kind: &str) -> Option<Section<'n>> {
    if let Some(node) = lookup(root, "kind")
        && let Some(found) = plain_text(node)
        && found != kind
    {
        let message = format!(
            "`kind` is {} where `{kind}` is expected: another kind of file has no place here",
            quote(found)
        );
        reader.complain(node.at, &message);
        return None;
    }
    let top = reader.section(root, "")?;
    let api = expect_constant(reader, &top, "apiVersion", API_VERSION);
    (expect_constant(reader, &top, "kind", kind) && api).then_some(top)
}

fn expect_constant(reader: &mut Reader<'_>, top: &Section<'_>, field: &str, expected: &str) -> bool {
    let Some(node) = top.get(field) else {
        reader.missing(top, field, &format!("{field}: {expected}"));
        return true;
    };
    let Some(text) = reader.text(node, field) else { return false };
    if text != expected {
        reader.complain(node.at, &format!("`{field}` is {} where `{expected}` is expected", quote(&text)));
    }
    text == expected
}

fn store(reader: &mut Reader<'_>, root: &Node, id: &StoreId, fleet: &Fleet) -> Option<Parts> {
    let top = header(reader, root, "Store")?;
    let name_at = name(reader, &top, id);
    let mut parts = Parts {
        name_at: name_at.unwrap_or(root.at),
        display_name: None,
        host: default_host(id, &fleet.domain)?,
        host_at: None,
        image: Image::default(),
        rollback: None,
        chart_name: None,
        chart: None,
        values: Map::new(),
        places: Places::default(),
        protect: false,
        pause: None,
        place: Place::default(),
    };
    let section = top.get("spec").and_then(|node| reader.section(node, "spec"));
    parts.chart_name = section.as_ref().and_then(|spec| Some(chart_name(reader, spec.get("chart")?)?.0));
    let chart_at = section.as_ref().and_then(|spec| spec.get("chart")).map_or(parts.name_at, |node| node.at);
    parts.chart = chart(reader, parts.chart_name.as_deref(), chart_at, &fleet.charts);
    parts.place = clusters::place(reader, section.as_ref(), parts.name_at, &fleet.clusters);
    if let Some(spec) = section {
        read_spec(reader, &spec, &mut parts);
    }
    name_at.map(|_| parts)
}

fn name(reader: &mut Reader<'_>, top: &Section<'_>, id: &StoreId) -> Option<Position> {
    let Some(node) = top.get("metadata") else {
        reader.missing(top, "metadata", &format!("metadata: {{name: {id}}}"));
        return None;
    };
    let metadata = reader.section(node, "metadata")?;
    let Some(node) = metadata.get("name") else {
        reader.missing(&metadata, "metadata.name", &format!("name: {id}"));
        return None;
    };
    let text = reader.text(node, "metadata.name")?;
    if text == id.as_str() {
        return Some(node.at);
    }
    let message = match text.parse::<StoreId>() {
        Ok(other) => format!(
            "`metadata.name` is `{other}`, but the file is called `{id}.yaml`: write `name: {id}`, or rename the file \
             to `{other}.yaml`"
        ),
        Err(error) => format!("`metadata.name` must be the file's name, `{id}`: {error}"),
    };
    reader.complain(node.at, &message);
    None
}

/// Finds the chart that the file names, or the fleet's.
fn chart(
    reader: &mut Reader<'_>,
    name: Option<&str>,
    at: Position,
    charts: &Charts,
) -> Option<Arc<StoreChart>> {
    let message = match charts.find(name) {
        Some(Ok(chart)) => return Some(Arc::clone(chart)),
        Some(Err(problem)) => {
            let name = name.unwrap_or(&charts.default);
            format!("its chart {} can't be used: {problem}", quote(name))
        }
        None => {
            let known: Vec<_> = charts.all.keys().map(String::as_str).collect();
            let name = quote(name.unwrap_or(&charts.default));
            format!(
                "`spec.chart` is {name}, which the fleet file does not name: write one of {}",
                known.join(", ")
            )
        }
    };
    reader.complain(at, &message);
    None
}

fn read_spec(reader: &mut Reader<'_>, spec: &Section<'_>, parts: &mut Parts) {
    if let Some(node) = spec.get("displayName") {
        parts.display_name = display_name(reader, node);
    }
    if let Some(node) = spec.get("host") {
        if let Some(host) = host(reader, node, "spec.host") {
            parts.host = host;
        }
        parts.host_at = Some(node.at);
    }
    if let Some(node) = spec.get("image") {
        parts.image = image(reader, node);
    }
    parts.rollback = spec.get("rollback").and_then(|node| rollback(reader, node));
    if let Some(node) = spec.get("version") {
        version(reader, node, spec, &mut parts.image);
    }
    if let Some(chart) = &parts.chart {
        refuse_homeless(reader, spec, chart);
    }
    if let Some(node) = spec.get("values") {
        if let Some(chart) = &parts.chart {
            refuse_owned(reader, node, "spec.values", &owned_by_store(&chart.fields));
        }
        parts.values = reader.values(node, "spec.values").unwrap_or_default();
        parts.places = Places::of(node);
    }
    if let Some(node) = spec.get("protect") {
        parts.protect = reader.truth(node, "spec.protect").unwrap_or_default();
    }
    note_fields(spec, parts);
    parts.pause = spec.get("pause").and_then(|node| pause::read(reader, node, "spec.pause"));
}

/// Notes where the fields stand that are values of the chart too.
fn note_fields(spec: &Section<'_>, parts: &mut Parts) {
    let Some(chart) = &parts.chart else { return };
    let image = |field: &str| spec.get("image").and_then(|image| lookup(image, field));
    let FieldPaths { name, display_name, host, image_repository, image_tag, image_digest } = &chart.fields;
    parts.places.extend(name.as_ref().map(|path| (path, parts.name_at)));
    for (path, node) in [
        (display_name, spec.get("displayName")),
        (host, spec.get("host")),
        (image_repository, image("repository")),
        (image_tag, spec.get("version").or_else(|| image("tag"))),
        (image_digest, image("digest")),
    ] {
        parts.places.extend(path.as_ref().zip(node.map(|node| node.at)));
    }
}

/// Refuses fields for which the chart has no place: they would do nothing.
fn refuse_homeless(reader: &mut Reader<'_>, spec: &Section<'_>, chart: &StoreChart) {
    let image = |field: &str| spec.get("image").and_then(|image| lookup(image, field));
    let FieldPaths { name: _, display_name: _, host: _, image_repository, image_tag, image_digest } =
        &chart.fields;
    for (field, node, path, place) in [
        ("version", spec.get("version"), image_tag, "imageTag"),
        ("image.repository", image("repository"), image_repository, "imageRepository"),
        ("image.tag", image("tag"), image_tag, "imageTag"),
        ("image.digest", image("digest"), image_digest, "imageDigest"),
    ] {
        if let (Some(node), None) = (node, path) {
            let name = &chart.name;
            let message = format!(
                "`spec.{field}` has no place in chart `{name}`: set a value of the chart instead, or \
                 `spec.charts.{name}.fields.{place}` in the fleet file"
            );
            reader.complain(node.at, &message);
        }
    }
}

fn display_name(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "spec.displayName")?;
    let length = text.chars().count();
    let message = if text.chars().any(is_unprintable) {
        "holds a line break or another character that can't be seen: write one line of plain text".to_owned()
    } else if !(1..=DISPLAY_NAME_MAX).contains(&length) {
        format!("has {length} characters where 1 to {DISPLAY_NAME_MAX} are allowed")
    } else {
        return Some(text);
    };
    reader.complain(node.at, &format!("`spec.displayName` {message}"));
    None
}

/// Reads a host name, and tells what to leave out of something that is almost one.
pub(super) fn host(reader: &mut Reader<'_>, node: &Node, path: &str) -> Option<Host> {
    let text = reader.text(node, path)?;
    let lower = text.to_ascii_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let bare = bare.split(['/', ':', '?', '#']).next().unwrap_or(bare).trim().trim_end_matches('.');
    let is_address = text.parse::<IpAddr>().is_ok() || bare.parse::<IpAddr>().is_ok();
    let message = match text.parse::<Host>() {
        _ if is_address => format!("{} is an address: an Ingress needs a name", quote(&text)),
        Ok(host) => return Some(host),
        Err(_) if bare != text && bare.parse::<Host>().is_ok() => {
            format!("{} is more than a host name in lower case: write `{bare}`", quote(&text))
        }
        Err(_) if bare.starts_with("*.") => {
            format!("{} is a pattern: write one host name, such as `shop{}`", quote(&text), &bare[1..])
        }
        Err(error) => error.to_string(),
    };
    reader.complain(node.at, &format!("`{path}`: {message}"));
    None
}

/// Reads what becomes of a version that does not come up.
pub(super) fn rollback(reader: &mut Reader<'_>, node: &Node) -> Option<Rollback> {
    let text = reader.text(node, "spec.rollback")?;
    match text.as_str() {
        "none" => Some(Rollback::None),
        "lastGood" => Some(Rollback::LastGood),
        _ => {
            let message = format!("`spec.rollback` is {}: write `lastGood` or `none`", quote(&text));
            reader.complain(node.at, &message);
            None
        }
    }
}

fn image(reader: &mut Reader<'_>, node: &Node) -> Image {
    let Some(section) = reader.section(node, "spec.image") else { return Image::default() };
    let mut field = |name: &str, shape: &Regex, max: usize, right: &str| {
        let path = format!("spec.image.{name}");
        shaped(reader, section.get(name)?, &path, shape, max, right)
    };
    Image {
        repository: field(
            "repository",
            &REPOSITORY_SHAPE,
            255,
            "an image without tag and digest, such as `ghcr.io/acme/medusa`",
        ),
        tag: field("tag", &TAG_SHAPE, 128, TAG_RIGHT),
        digest: field("digest", &DIGEST_SHAPE, 71, "`sha256:` and 64 digits of 0-9 and a-f"),
    }
}

const TAG_RIGHT: &str = "at most 128 letters, digits, `.`, `_` and `-`, such as \"2.21.2\"";

fn version(reader: &mut Reader<'_>, node: &Node, spec: &Section<'_>, image: &mut Image) {
    if spec.get("image").is_some_and(|image| lookup(image, "tag").is_some()) {
        reader.complain(
            node.at,
            "`spec.version` and `spec.image.tag` set the same thing: remove one of the two",
        );
        return;
    }
    image.tag = shaped(reader, node, "spec.version", &TAG_SHAPE, 128, TAG_RIGHT);
}

fn shaped(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    shape: &Regex,
    max: usize,
    right: &str,
) -> Option<String> {
    let text = reader.text(node, path)?;
    if text.len() <= max && shape.is_match(&text) {
        return Some(text);
    }
    reader.complain(node.at, &format!("`{path}` is {}: write {right}", quote(&text)));
    None
}

/// A chart value that has a place of its own to be set, and what to do instead of setting it elsewhere.
pub(super) type Owned = Vec<(ValuePath, &'static str)>;

/// What `spec.values` of a store can't set.
fn owned_by_store(fields: &FieldPaths) -> Owned {
    let FieldPaths { name, display_name, host, image_repository, image_tag, image_digest } = fields;
    let owned = [
        (name, "it always is the store's name: remove it"),
        (display_name, "set `spec.displayName` instead"),
        (host, "set `spec.host` instead"),
        (image_repository, "set `spec.image.repository` instead"),
        (image_tag, "set `spec.version` or `spec.image.tag` instead"),
        (image_digest, "set `spec.image.digest` instead"),
    ];
    owned.into_iter().filter_map(|(path, remedy)| Some((path.clone()?, remedy))).collect()
}

/// What values for all stores of a chart can't set.
pub(super) fn owned_by_each_store(fields: &FieldPaths, is_built_in: bool) -> Owned {
    let FieldPaths { name, display_name, host, image_repository: _, image_tag: _, image_digest: _ } = fields;
    let restore = is_built_in.then(|| ValuePath::known("restore.file"));
    let owned = [
        (name, "every store has its own: remove it"),
        (display_name, "every store has its own: set `spec.displayName` in its file"),
        (host, "every store has its own: set `spec.host` in its file"),
        (&restore, "it would put one dump into every store: set it in the file of the one that is meant"),
    ];
    owned.into_iter().filter_map(|(path, remedy)| Some((path.clone()?, remedy))).collect()
}

/// Refuses chart values that fields of their own set, so that there is one place to look for each.
pub(super) fn refuse_owned(reader: &mut Reader<'_>, values: &Node, path: &str, owned: &Owned) {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let mut in_the_way = BTreeSet::new();
    for (owned, remedy) in owned {
        match owned.find(values) {
            Found::Nothing => {}
            Found::Value(at) => {
                reader.complain(at, &format!("`{prefix}{owned}` can't be set here: {remedy}"));
            }
            // What is no map at all is complained of where it is read.
            Found::InTheWay { path, .. } if path.is_empty() => {}
            Found::InTheWay { at, path, wanted } => {
                if in_the_way.insert(path.clone()) {
                    reader.complain(at, &format!("`{prefix}{path}` must be {wanted}"));
                }
            }
        }
    }
}

/// Reads the name of a chart.
pub(super) fn chart_name(reader: &mut Reader<'_>, node: &Node) -> Option<(String, Position)> {
    reader.text(node, "spec.chart").map(|name| (name, node.at))
}

#[cfg(test)]
mod tests {
    use super::super::file::{
        CHART_FOLDER, CHART_NAME, COMMIT, GIT_PATH, GIT_URL, HOST, NAME, OCI_REFERENCE, PATTERN,
        REPOSITORY_URL, TIME, UNTIL, VALUE_FILE, VALUE_PATH, VERSION,
    };
    use super::*;

    #[test]
    fn every_pattern_of_the_schemas_compiles() {
        for pattern in [
            NAME,
            HOST,
            TAG,
            REPOSITORY,
            DIGEST,
            VALUE_FILE,
            UNTIL,
            TIME,
            PATTERN,
            CHART_FOLDER,
            CHART_NAME,
            COMMIT,
            GIT_PATH,
            GIT_URL,
            OCI_REFERENCE,
            REPOSITORY_URL,
            VALUE_PATH,
            VERSION,
        ] {
            shape(pattern);
        }
    }
}
