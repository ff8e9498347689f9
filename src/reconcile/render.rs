//! Renders a store with the chart, answering its look-ups from the store's own namespace.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::prepare::version;
use super::{ChartCache, ChartUnavailable, Context};
use crate::chart::{
    Capabilities, Chart, Crd, Hook, LookupQuery, Release, RenderError, RenderLimits, RenderRequest,
    RenderedObject, Rendering, Snippet,
};
use crate::cluster::{Cluster, ClusterError, Mask};
use crate::helm::{HelmBinary, HelmError, HelmRequest};
use crate::manifest::ObjectKey;
use crate::names::{INVENTORY_NAME, StoreId};
use crate::plan::{Moment, ObservedStore};
use crate::store::{Renderer, Store};

/// How many different objects a chart may look up in one rendering. Each is a request.
const LOOKUPS_MAX: usize = 100;

/// Why a store could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderFailure {
    /// The chart refused the values, or a template failed.
    #[error("{}{}", .0, line_of(.0.snippet()))]
    Chart(#[from] RenderError),
    /// The helm program did not render it.
    #[error(transparent)]
    Helm(Box<HelmError>),
    /// A template failed in words that repeat what a Secret holds; here they don't.
    #[error("{0}")]
    Masked(String),
    /// The chart is not at hand.
    #[error(transparent)]
    Unavailable(#[from] ChartUnavailable),
    /// An object that the chart looks up could not be read.
    #[error(transparent)]
    LookUp(#[from] ClusterError),
    /// The watch knows an object that a read does not find.
    #[error("look up {object}: the watch knows it, the read finds nothing")]
    Contradiction {
        /// Kind and name.
        object: String,
    },
    /// A Secret that was applied is gone.
    #[error(
        "keep {object}: it was applied and somebody deleted it, and a new one would not fit what the old one was used \
         for; put it back from a backup, or delete ConfigMap {INVENTORY_NAME} in the store's namespace to have a new one made"
    )]
    SecretGone {
        /// Kind and name.
        object: String,
    },
    /// The chart looks up more than it may.
    #[error("render the chart: it looks up more than {LOOKUPS_MAX} objects")]
    TooManyLookUps,
}

impl From<HelmError> for RenderFailure {
    fn from(error: HelmError) -> Self {
        Self::Helm(Box::new(error))
    }
}

/// Quotes the line of a template that failed, on the message's own line.
pub(super) fn line_of(snippet: Option<&Snippet>) -> String {
    snippet.map(|snippet| format!(", in the line `{}`", snippet.text())).unwrap_or_default()
}

/// Returns seconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Fills a slice with random bytes fit for secrets.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What rendering takes from the outside: the time and random bytes.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

/// What a rendering's look-ups found, by what was asked.
pub type Answers = BTreeMap<LookupQuery, Value>;

/// Where the answers to a rendering's look-ups come from. Whoever acts takes them from the cluster.
#[derive(Debug, Clone, Default)]
pub enum LookUps {
    /// From the store's own namespace.
    #[default]
    Cluster,
    /// From there, and they are noted down.
    Noted(Arc<Mutex<Answers>>),
    /// From these and nowhere else.
    Given(Arc<Answers>),
    /// From nowhere: each finds nothing, and the cluster is not asked.
    Nowhere,
}

impl LookUps {
    /// Answers without the cluster, if that is how it is.
    fn known(&self, query: &LookupQuery) -> Option<Value> {
        match self {
            Self::Cluster | Self::Noted(_) => None,
            Self::Given(answers) => Some(answers.get(query).cloned().unwrap_or_else(nothing)),
            Self::Nowhere => Some(nothing()),
        }
    }

    fn note(&self, query: &LookupQuery, answer: &Value) {
        if let Self::Noted(answers) = self {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.insert(query.clone(), answer.clone());
        }
    }
}

/// Tells charts what the cluster serves.
fn capabilities(cluster: &Cluster) -> Capabilities {
    let (version, served) = cluster.served();
    Capabilities { kube_version: version, api_versions: served }
}

/// What a store is rendered to.
#[derive(Debug)]
pub struct Rendered {
    /// The objects, each with the template that wrote it.
    pub objects: Vec<(String, Value)>,
    /// What the chart's hooks make.
    pub hooks: Vec<RenderedHook>,
    /// What has to be known to the cluster before them.
    pub crds: Vec<Crd>,
}

/// A hook of a chart.
#[derive(Debug, Clone)]
pub struct RenderedHook {
    /// The template that wrote it.
    pub template: String,
    /// Its object.
    pub value: Value,
    /// When it runs and goes.
    pub hook: Hook,
}

impl Rendered {
    fn of(rendering: Rendering) -> Self {
        let Rendering { objects: all, crds, notes: _ } = rendering;
        let (mut objects, mut hooks) = (Vec::new(), Vec::new());
        for RenderedObject { template, value, hook, keep: _ } in all {
            match hook {
                None => objects.push((template, value)),
                Some(hook) => hooks.push(RenderedHook { template, value, hook }),
            }
        }
        Self { objects, hooks, crds }
    }
}

/// Renders a store as the cluster would hold it.
pub(super) async fn render(
    context: &Context,
    store: &Arc<Store>,
    observed: &ObservedStore,
    look_ups: &LookUps,
) -> Result<Rendered, RenderFailure> {
    let namespace = store.id.namespace();
    let attempt = Attempt {
        chart: context.charts.load(&store.chart).await?,
        store: Arc::clone(store),
        surroundings: context.surroundings.clone(),
        capabilities: capabilities(&context.cluster),
        has_namespace: observed.namespace.is_some(),
        is_upgrade: Moment::of(observed.inventory.as_deref(), &version(store, &context.charts), false)
            != Moment::Install,
    };
    let namespace = &namespace;
    let look_up = move |query: LookupQuery| async move {
        if let Some(answer) = look_ups.known(&query) {
            return Ok(answer);
        }
        let LookupQuery { api_version, kind, namespace: _, name } = &query;
        let answer = match context.cluster.look_up(api_version, kind, namespace, name).await? {
            Some(object) => object,
            None => check_absence(&query, observed).map(|()| nothing())?,
        };
        look_ups.note(&query, &answer);
        Ok(answer)
    };
    attempt.finished(&context.charts, look_up).await
}

/// Renders with the helm program. It asks each look-up once, and those of the store's namespace only.
async fn with_helm<Answer>(
    helm: &HelmBinary,
    attempt: &Attempt,
    look_up: impl Fn(LookupQuery) -> Answer,
) -> Result<Rendered, RenderFailure>
where
    Answer: Future<Output = Result<Value, RenderFailure>>,
{
    let (store, seen) = (&attempt.store, Mutex::new((0, Vec::new())));
    let seen = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let release = release(&store.id, attempt.is_upgrade);
    let values = store.merged();
    let request = HelmRequest { release: &release, values: &values, capabilities: &attempt.capabilities };
    let rendering = helm.render(attempt.chart.files(), request, async |query| {
        if !attempt.has_namespace {
            return Ok(nothing());
        }
        seen().0 += 1;
        if seen().0 > LOOKUPS_MAX {
            return Err(RenderFailure::TooManyLookUps);
        }
        let is_secret = query.kind == "Secret";
        let found = look_up(query).await?;
        if is_secret {
            seen().1.push(found.clone());
        }
        Ok(found)
    });
    match rendering.await {
        Ok(rendering) => Ok(Rendered::of(rendering)),
        Err(error @ RenderFailure::Helm(_)) => Err(masked(error, &seen().1, &store.id)),
        Err(other) => Err(other),
    }
}

/// Renders once, on a thread of its own, and answers its look-ups as they come. The thread computes (a chart may do so
/// for a second, and the page must not stand still) and waits while an answer is on its way. When an answer fails or the
/// run is given up, nobody listens any more: what is left of the rendering finds nothing, and is thrown away.
async fn answering<Answer>(
    attempt: Attempt,
    look_up: impl Fn(LookupQuery) -> Answer,
) -> Result<Rendered, RenderFailure>
where
    Answer: Future<Output = Result<Value, RenderFailure>>,
{
    let (questions, mut asked) = mpsc::channel(1);
    let store = attempt.store.id.clone();
    let rendering = tokio::task::spawn_blocking(move || attempt.render(&questions));
    let (mut count, mut secrets) = (0, Vec::new());
    while let Some(Question { query, answer }) = asked.recv().await {
        count += 1;
        if count > LOOKUPS_MAX {
            return Err(RenderFailure::TooManyLookUps);
        }
        let is_secret = query.kind == "Secret";
        let found = look_up(query).await?;
        if is_secret {
            secrets.push(found.clone());
        }
        // It can't have gone: it waits for this.
        let _ = answer.send(found);
    }
    match rendering.await {
        Ok(rendered) => rendered.map_err(|error| masked(error.into(), &secrets, &store)),
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// Takes out of a template's words what the Secrets hold that it looked up: `fail` may print anything.
fn masked(failure: RenderFailure, secrets: &[Value], store: &StoreId) -> RenderFailure {
    let each = secrets.iter().flat_map(|found| match found.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        None => vec![found],
    });
    let words = failure.to_string();
    match Mask::of_secrets(each, &BTreeSet::from([store.namespace()])).hide(&words) {
        same if same == words => failure,
        hidden => RenderFailure::Masked(hidden),
    }
}

/// A look-up of a rendering under way.
struct Question {
    query: LookupQuery,
    answer: oneshot::Sender<Value>,
}

/// Doubts that an object is absent which the chart looks up: what generates a password when it finds none would
/// replace one that a database was made with.
fn check_absence(query: &LookupQuery, observed: &ObservedStore) -> Result<(), RenderFailure> {
    let group = query.api_version.split_once('/').map_or("", |(group, _)| group);
    let key = ObjectKey::new(group, query.kind.as_str(), query.name.as_str());
    if observed.objects.contains_key(&key) {
        return Err(RenderFailure::Contradiction { object: key.to_string() });
    }
    let entry = observed.inventory.as_ref().and_then(|inventory| inventory.get(&key));
    if key.kind == "Secret" && entry.is_some_and(|entry| entry.manifest.is_some()) {
        return Err(RenderFailure::SecretGone { object: key.to_string() });
    }
    Ok(())
}

/// What a look-up answers that finds nothing.
fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Everything that a rendering needs but the answers to its look-ups.
struct Attempt {
    chart: Arc<Chart>,
    store: Arc<Store>,
    surroundings: Surroundings,
    capabilities: Capabilities,
    has_namespace: bool,
    is_upgrade: bool,
}

impl Attempt {
    /// Renders with what its chart is rendered with.
    async fn finished<Answer>(
        self,
        charts: &ChartCache,
        look_up: impl Fn(LookupQuery) -> Answer,
    ) -> Result<Rendered, RenderFailure>
    where
        Answer: Future<Output = Result<Value, RenderFailure>>,
    {
        match self.store.chart.renderer {
            Renderer::Native => answering(self, look_up).await,
            Renderer::Helm => with_helm(charts.helm(&self.store.chart)?, &self, look_up).await,
        }
    }

    /// Renders; waits where it looks something up. A question is asked once, so that all of a rendering sees the same.
    fn render(&self, questions: &mpsc::Sender<Question>) -> Result<Rendered, RenderError> {
        let namespace = self.store.id.namespace();
        let answers = RefCell::new(BTreeMap::<LookupQuery, Value>::new());
        let lookup = |query: &LookupQuery| {
            // A store sees its own namespace and nothing else; before that exists there is nothing to see.
            if query.namespace != namespace || !self.has_namespace {
                return nothing();
            }
            if let Some(known) = answers.borrow().get(query) {
                return known.clone();
            }
            let found = ask(questions, query).unwrap_or_else(nothing);
            answers.borrow_mut().insert(query.clone(), found.clone());
            found
        };
        with_chart(&self.chart, &self.store, self.is_upgrade, &self.capabilities, &lookup, &self.surroundings)
    }
}

/// Asks and waits; none when the run was given up.
fn ask(questions: &mpsc::Sender<Question>, query: &LookupQuery) -> Option<Value> {
    let (answer, answered) = oneshot::channel();
    questions.blocking_send(Question { query: query.clone(), answer }).ok()?;
    answered.blocking_recv().ok()
}

/// Renders a store without a cluster, as `helm template` does: every look-up finds nothing.
pub async fn render_offline(
    charts: &ChartCache,
    store: &Arc<Store>,
    capabilities: &Capabilities,
    surroundings: &Surroundings,
) -> Result<Rendered, RenderFailure> {
    let attempt = Attempt {
        chart: charts.load(&store.chart).await?,
        store: Arc::clone(store),
        surroundings: surroundings.clone(),
        capabilities: capabilities.clone(),
        has_namespace: false,
        is_upgrade: false,
    };
    attempt.finished(charts, |_| std::future::ready(Ok(nothing()))).await
}

/// Renders a store with the built-in chart at once, without a cluster.
pub fn render_now(
    chart: &Chart,
    store: &Store,
    surroundings: &Surroundings,
) -> Result<Rendered, RenderError> {
    with_chart(chart, store, false, &Capabilities::default(), &|_| nothing(), surroundings)
}

fn with_chart(
    chart: &Chart,
    store: &Store,
    is_upgrade: bool,
    capabilities: &Capabilities,
    lookup: &dyn Fn(&LookupQuery) -> Value,
    surroundings: &Surroundings,
) -> Result<Rendered, RenderError> {
    let rendering = chart.render(&RenderRequest {
        release: release(&store.id, is_upgrade),
        values: &store.merged(),
        capabilities,
        lookup,
        entropy: &*surroundings.entropy,
        now: (surroundings.clock)(),
        limits: RenderLimits::default(),
    });
    rendering.map(Rendered::of).map_err(|error| placed(error, store))
}

/// Says where the values stand that a schema refuses.
fn placed(error: RenderError, store: &Store) -> RenderError {
    let RenderError::Schema(mut violations) = error else { return error };
    for violation in &mut violations {
        violation.place = store.place_of(&violation.path);
    }
    RenderError::Schema(violations)
}

fn release(store: &StoreId, is_upgrade: bool) -> Release {
    Release { name: store.to_string(), namespace: store.namespace(), is_upgrade, revision: 1 }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::names::Host;
    use crate::store::{FileContent, Limits, RepositoryTree, Revision};

    fn store() -> Arc<Store> {
        let bytes = |text: &str| FileContent::Bytes(text.as_bytes().to_vec());
        let fleet = "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec: {domain: example.com}\n";
        let file = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata: {name: acme}\n";
        let files = [("storekeeper.yaml", fleet), ("stores/acme.yaml", file)];
        let files = files.map(|(path, text)| (path.to_owned(), bytes(text))).into();
        let tree = RepositoryTree { revision: Revision::working_tree(), files };
        let incumbents = BTreeMap::<Host, StoreId>::new();
        let snapshot = crate::store::read(&tree, &|_| None, &incumbents, &Limits::default()).unwrap();
        Arc::clone(snapshot.stores.values().next().unwrap().accepted().unwrap())
    }

    /// A rendering of this template, and how often it began: each takes entropy once.
    fn attempt(template: &str, has_namespace: bool) -> (Attempt, Arc<AtomicUsize>) {
        let files = [
            ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n".to_owned()),
            ("templates/a.yaml", format!("{{{{ $_ := randAlphaNum 1 }}}}\n{template}\n")),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.into_bytes())).into();
        let renderings = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&renderings);
        let entropy = move |bytes: &mut [u8]| {
            count.fetch_add(1, Ordering::SeqCst);
            bytes.fill(7);
        };
        let attempt = Attempt {
            chart: Arc::new(Chart::load(files).unwrap()),
            store: store(),
            surroundings: Surroundings { clock: Arc::new(|| 0), entropy: Arc::new(entropy) },
            capabilities: Capabilities::default(),
            has_namespace,
            is_upgrade: true,
        };
        (attempt, renderings)
    }

    const CHAIN: &str = "first: {{ (lookup \"v1\" \"Secret\" \"store-acme\" \"one\").next }}\n\
        second: {{ (lookup \"v1\" \"Secret\" \"store-acme\" (lookup \"v1\" \"Secret\" \"store-acme\" \"one\").next).next }}\n\
        other: {{ lookup \"v1\" \"Secret\" \"store-bonsai\" \"one\" | toJson }}";

    #[tokio::test]
    async fn look_ups_that_depend_on_each_other_are_answered_within_one_rendering() {
        let (attempt, renderings) = attempt(CHAIN, true);
        let asked = RefCell::new(Vec::new());
        let rendered = answering(attempt, async |query| {
            asked.borrow_mut().push(query.name.clone());
            Ok(json!({"next": format!("{}-two", query.name)}))
        });
        let rendered = rendered.await.unwrap();
        assert_eq!(rendered.objects[0].1, json!({"first": "one-two", "second": "one-two-two", "other": {}}));
        assert_eq!(
            asked.into_inner(),
            ["one", "one-two"],
            "each is asked once, and none of another namespace"
        );
        assert_eq!(renderings.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn nothing_is_asked_before_the_namespace_exists() {
        let (attempt, _) =
            attempt("found: {{ lookup \"v1\" \"Secret\" \"store-acme\" \"one\" | toJson }}", false);
        let rendered = answering(attempt, async |_| panic!("it was asked")).await.unwrap();
        assert_eq!(rendered.objects[0].1, json!({"found": {}}));
    }

    #[tokio::test]
    async fn a_look_up_that_fails_fails_the_rendering_and_not_as_something_absent() {
        let (attempt, _) = attempt(CHAIN, true);
        let failed = answering(attempt, async |query| {
            Err(RenderFailure::Contradiction { object: format!("Secret/{}", query.name) })
        });
        let error = failed.await.unwrap_err().to_string();
        assert_eq!(error, "look up Secret/one: the watch knows it, the read finds nothing");
    }

    #[tokio::test]
    async fn a_template_that_fails_does_not_say_what_a_secret_holds() {
        let secret = "(lookup \"v1\" \"Secret\" \"store-acme\" \"one\").data.password";
        let template = format!("a: {{{{ fail (printf \"%s, %s\" {secret} (b64dec {secret})) }}}}");
        let (attempt, _) = attempt(&template, true);
        let found = json!({"kind": "Secret", "data": {"password": "Y2FuYXJ5LXBhc3N3b3Jk"}});
        let error = answering(attempt, async |_| Ok(found.clone())).await.unwrap_err().to_string();
        assert!(error.contains(": ***, ***, in the line `a: {{ fail "), "{error}");
    }

    #[tokio::test]
    async fn a_chart_that_looks_up_without_end_is_refused() {
        let endless = "a: {{ range $i := until 1000 }}{{ lookup \"v1\" \"Secret\" \"store-acme\" (print $i) }}{{ end }}";
        let (attempt, _) = attempt(endless, true);
        let error = answering(attempt, async |_| Ok(nothing())).await.unwrap_err();
        assert_eq!(error.to_string(), "render the chart: it looks up more than 100 objects");
    }
}
