//! A plan shows beforehand what a merge would do, exactly: fields, losses, refusals and warnings, and nothing of a Secret.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/turned_chart.rs"]
mod turned_chart;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::api_proxy::{ApiProxy, Call};
use common::daemon::Daemon;
use common::policies::{refuse, refuse_where};
use common::{World, until};
use serde_json::json;
use sha2::Digest as _;
use storekeeper::chart::Chart;
use storekeeper::cluster::{Changes, Cluster, ClusterSettings};
use storekeeper::ledger::Ledger;
use storekeeper::manifest::AllowedKinds;
use storekeeper::preview::{self, Outlook};
use storekeeper::reconcile::{ChartCache, ChartPlaces, Context, Past, Surroundings};
use storekeeper::report::{
    LostKind, ObjectAction, PlanReport, PlanVerdict, StepTimeouts, StoreAction, StorePlanReport,
};
use storekeeper::store::{FileContent, Limits, RepositoryTree, Revision, Snapshot};
use tokio::runtime::Runtime;

/// Someone who plans, beside the daemon.
struct Planner {
    runtime: Runtime,
    context: Context,
}

impl Planner {
    fn new(world: &World, chart: &Path) -> Self {
        Self::on(world, chart, &world.cluster.kubeconfig)
    }

    fn on(world: &World, chart: &Path, kubeconfig: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let chart = Arc::new(Chart::load(files(chart)).unwrap());
        let source: storekeeper::names::SourceId = world.source.parse().unwrap();
        let settings = ClusterSettings {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..ClusterSettings::new(source.clone())
        };
        let cluster = runtime.block_on(async {
            let cluster = Cluster::connect(settings, Changes::default()).await.unwrap();
            cluster.start_watching().await.unwrap();
            cluster
        });
        let entropy = |bytes: &mut [u8]| getrandom(bytes);
        let surroundings = Surroundings { clock: Arc::new(now), entropy: Arc::new(entropy) };
        let kinds = AllowedKinds::with([turned_chart::KIND.parse().unwrap()]);
        let past = Past::new(Arc::default(), Arc::clone(&chart));
        let (timeouts, ledger) = (StepTimeouts::default(), Ledger::new(std::path::PathBuf::new()));
        Self {
            runtime,
            context: Context {
                cluster,
                charts: ChartCache::new(chart, ChartPlaces { kinds, ..ChartPlaces::repository() }),
                source,
                surroundings,
                timeouts,
                ledger,
                past,
            },
        }
    }

    /// Reads the files as they lie in the checkout.
    fn snapshot(&self, world: &World) -> Snapshot {
        let folder = &world.repository.checkout;
        let mut found = files(folder);
        found.retain(|path, _| storekeeper::store::wants(path));
        let files = found.into_iter().map(|(path, bytes)| (path, FileContent::Bytes(bytes))).collect();
        let tree = RepositoryTree { revision: Revision::working_tree(), files };
        let incumbents = self.context.cluster.incumbents();
        storekeeper::store::read(
            &tree,
            &|path| self.context.charts.built_in().file(path),
            &incumbents,
            &Limits::default(),
        )
        .unwrap()
    }

    fn plan(&self, base: Option<&Snapshot>, proposed: &Snapshot) -> PlanReport {
        self.plan_with(base, proposed, &Outlook::new(now()))
    }

    fn plan_with(&self, base: Option<&Snapshot>, proposed: &Snapshot, outlook: &Outlook) -> PlanReport {
        self.runtime.block_on(preview::proposal(&self.context, base, proposed, outlook))
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn getrandom(bytes: &mut [u8]) {
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), bytes).unwrap();
}

/// Reads all files of a folder by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with(".git") {
                    open.push(path);
                }
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn built_in() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/medusa-store"))
}

/// Writes a store with these values.
fn write(world: &World, name: &str, values: &str) {
    write_named(world, name, name, values);
}

fn write_named(world: &World, name: &str, display_name: &str, values: &str) {
    world.write_store(name, display_name);
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file(name))).unwrap();
    world.repository.write(&world.file(name), &format!("{text}  values: {values}\n"));
}

fn store<'a>(plan: &'a PlanReport, world: &World, name: &str) -> &'a StorePlanReport {
    let found = plan.stores.iter().find(|store| store.store == world.store(name));
    found.unwrap_or_else(|| panic!("{name} is not planned: {}", plan.text(false)))
}

/// Writes what would be done to a store's objects, a line for each of them and for each field.
fn lines(store: &StorePlanReport) -> Vec<String> {
    let mut lines = Vec::new();
    for object in &store.objects {
        lines.push(format!("{} {}/{}", object.action.sign(), object.kind, object.name));
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let fields = object.fields.iter();
        lines.extend(fields.map(|it| format!("{}: {} > {}", it.path, word(&it.before), word(&it.after))));
    }
    lines
}

fn says(sentences: &[String], words: &str) -> bool {
    sentences.iter().any(|sentence| sentence.contains(words))
}

fn until_ready_at(world: &World, daemon: &Daemon, name: &str, commit: &str) {
    until("the store is READY at the commit", || {
        let shown = daemon.store(&world.store(name))?;
        (shown["state"] == "READY" && shown["appliedRevision"] == commit).then_some(())
    });
}

/// Waits until a planner has seen what a store's daemon recorded last.
fn until_seen(planner: &Planner, world: &World, snapshot: &Snapshot) {
    until("the planner sees that nothing would change", || {
        let plan = planner.plan(None, snapshot);
        let changes = plan.stores.iter().any(|store| store.store.starts_with(&world.prefix));
        (!changes).then_some(())
    });
}

#[test]
fn exactly_the_fields_that_change_are_shown_and_none_after_the_merge() {
    let (world, daemon) = World::with_ready(&["acme", "bonsai"]);
    let planner = Planner::new(&world, built_in());
    let base = planner.snapshot(&world);
    until_seen(&planner, &world, &base);

    write(&world, "acme", "{storefront: {image: {tag: 0.1.9}}}");
    let proposed = planner.snapshot(&world);
    let plan = planner.plan(Some(&base), &proposed);
    assert_eq!((plan.verdict, plan.unchanged), (PlanVerdict::Changes, 1), "{}", plan.text(false));
    let image = "spec.template.spec.containers[storefront].image";
    let expected = [
        "~ Deployment/storefront".to_owned(),
        format!("{image}: storekeeper/storefront:0.1.0 > storekeeper/storefront:0.1.9"),
    ];
    assert_eq!(lines(store(&plan, &world, "acme")), expected);
    assert_eq!(store(&plan, &world, "acme").warnings, [""; 0]);
    assert!(plan.summary().starts_with("1 to change: "), "{}", plan.summary());

    // What somebody else holds differently is put back by the run, and shown with it.
    let namespace = world.namespace("acme");
    let patch = json!({"spec": {"replicas": 0}});
    world.cluster.patch("apps/v1", "Deployment", &namespace, "storefront", &patch);
    let commit = world.repository.push("a newer storefront");
    until_ready_at(&world, &daemon, "acme", &commit);
    until_seen(&planner, &world, &proposed);
    assert_eq!(planner.plan(Some(&base), &proposed).verdict, PlanVerdict::Nothing);
}

#[test]
fn a_migration_and_a_quota_that_is_too_small_are_told_before() {
    let (world, _daemon) = World::with_ready(&["acme"]);
    let planner = Planner::new(&world, built_in());
    let base = planner.snapshot(&world);
    until_seen(&planner, &world, &base);

    write(&world, "acme", "{store: {currency: usd}}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    let acme = store(&plan, &world, "acme");
    assert!(says(&acme.warnings, "a migration will run: Job/bootstrap-"), "{acme:?}");
    assert!(!says(&acme.warnings, "quota"), "{acme:?}");
    let jobs =
        |sign: &str| lines(acme).iter().filter(|line| line.starts_with(&format!("{sign} Job/"))).count();
    assert_eq!((jobs("+"), jobs("-")), (1, 1), "the one before goes with its version: {acme:?}");

    world.write_store("acme", "acme");
    write(&world, "acme", "{storefront: {replicas: 20}}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    let acme = store(&plan, &world, "acme");
    assert!(says(&acme.warnings, "quota store has no room for it"), "{acme:?}");
    assert!(!says(&acme.warnings, "migration"), "{acme:?}");
    assert_eq!(plan.verdict, PlanVerdict::Changes);

    // A new store is held against the quota that it brings.
    world.repository.remove(&world.file("acme"));
    world.write_store("bonsai", "acme");
    write(&world, "bonsai", "{storefront: {replicas: 20}}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    let bonsai = store(&plan, &world, "bonsai");
    assert!(says(&bonsai.warnings, "quota store has no room for it"), "{bonsai:?}");
    assert_eq!(bonsai.action, StoreAction::Add);
    assert!(lines(bonsai).contains(&"+ StatefulSet/postgres".to_owned()), "{bonsai:?}");
}

#[test]
fn a_removal_lists_the_namespace_and_the_volumes_with_their_sizes() {
    let (world, _daemon) = World::with_ready(&["acme", "bonsai"]);
    let planner = Planner::new(&world, built_in());
    let base = planner.snapshot(&world);
    world.write_fleet("deletionGracePeriodSeconds: 600");
    world.repository.remove(&world.file("acme"));
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(plan.verdict, PlanVerdict::Changes, "{}", plan.text(false));
    let acme = store(&plan, &world, "acme");
    assert_eq!(acme.action, StoreAction::Remove);
    assert_eq!(acme.when.as_deref(), Some("10m after the merge, unless its file comes back before"));
    let lost: Vec<_> = acme.lost.iter().map(|it| (it.what, it.name.as_str(), it.size.as_deref())).collect();
    let namespace = world.namespace("acme");
    assert_eq!(lost[0], (LostKind::Namespace, namespace.as_str(), None));
    assert!(lost.contains(&(LostKind::Volume, "data-postgres-0", Some("1Gi"))), "{lost:?}");
    assert!(lost.contains(&(LostKind::Volume, "uploads", Some("1Gi"))), "{lost:?}");
    assert!(acme.lost.iter().all(|it| it.created.is_some() && it.age.is_some()), "{lost:?}");
}

#[test]
fn what_is_over_budget_or_protected_is_blocked_and_what_is_approved_is_not() {
    let names = ["acme", "bonsai", "chocolate", "daisy"];
    let (world, _daemon) =
        World::with_small(&names, "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}");
    let planner = Planner::new(&world, &world.folder.path().join("small-chart"));
    let base = planner.snapshot(&world);
    for name in &names[..3] {
        world.repository.remove(&world.file(name));
    }
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(plan.verdict, PlanVerdict::Blocked);
    assert!(
        says(&plan.blocked, "spec.deletionBudget.approved in storekeeper.yaml names it"),
        "{:?}",
        plan.blocked
    );
    assert_eq!(store(&plan, &world, "acme").action, StoreAction::Keep);
    assert!(plan.summary().starts_with("blocked: 3 stores would be removed"), "{}", plan.summary());

    let acme = world.store("acme");
    world.write_fleet(&format!(
        "deletionBudget: {{maxStores: 2, maxPercent: 100, windowMinutes: 0, approved: [{acme}]}}"
    ));
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!((plan.verdict, &plan.blocked[..]), (PlanVerdict::Changes, &[][..]), "{}", plan.text(false));
    assert_eq!(store(&plan, &world, "chocolate").action, StoreAction::Remove);

    for name in &names[..3] {
        world.write_store(name, name);
    }
    world.write_store_with("daisy", "protect: true");
    world.repository.push("protect daisy");
    until("the protection is written", || world.mark("daisy", "protect"));
    let base = planner.snapshot(&world);
    world.repository.remove(&world.file("daisy"));
    until("the planner sees the protection", || {
        let plan = planner.plan(Some(&base), &planner.snapshot(&world));
        (plan.verdict == PlanVerdict::Blocked && says(&plan.blocked, "`protect: false`")).then_some(())
    });
    world.write_store("daisy", "daisy");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert!(
        says(&store(&plan, &world, "daisy").warnings, "its protection is taken off"),
        "{}",
        plan.text(false)
    );
}

#[test]
fn what_a_policy_refuses_is_told_in_its_words_and_fails_the_plan() {
    let (world, _daemon) = World::with_small(&["acme"], "deletionBudget: {maxStores: 2}");
    let planner = Planner::new(&world, &world.folder.path().join("small-chart"));
    let base = planner.snapshot(&world);
    let unless = "!has(object.data) || !('name' in object.data) || object.data['name'] != 'Forbidden Name'";
    let _policy =
        refuse(&world, ("", "configmaps"), &["CREATE", "UPDATE"], (unless, "'no shop is called so'"));
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"name": "Forbidden Name"},
        "metadata": {"name": "probe", "namespace": world.namespace("acme")}});
    until("the policy is in force", || {
        world.cluster.try_apply(&body).is_err_and(|it| it.contains("called so")).then_some(())
    });
    world.write_store("acme", "Forbidden Name");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(plan.verdict, PlanVerdict::Wrong, "{}", plan.text(false));
    let acme = store(&plan, &world, "acme");
    let refused: Vec<_> = acme.objects.iter().filter(|it| it.action == ObjectAction::Refused).collect();
    assert_eq!(refused.len(), 1, "{acme:?}");
    assert!(refused[0].note.as_ref().unwrap().contains("no shop is called so"), "{acme:?}");
    assert!(acme.trouble.as_ref().unwrap().starts_with("ConfigMap/settings would be refused: "), "{acme:?}");

    world.write_store("acme", "Another Name");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(
        lines(store(&plan, &world, "acme")),
        ["~ ConfigMap/settings", "data.name: acme > Another Name"]
    );
}

#[test]
fn what_a_new_store_would_be_refused_for_is_told_before_its_namespace_is_there() {
    let world = World::new();
    let planner = Planner::new(&world, built_in());
    let base = planner.snapshot(&world);
    write(&world, "acme", "{api: {resources: {limits: {memory: 1Mi}}}}");
    write(&world, "bold", "{}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(plan.verdict, PlanVerdict::Wrong, "{}", plan.text(false));
    let acme = store(&plan, &world, "acme");
    let trouble = acme.trouble.as_ref().unwrap();
    assert!(
        trouble.starts_with("Deployment/medusa would be refused: Deployment.apps \"medusa\""),
        "{trouble}"
    );
    assert!(trouble.contains("must be less than or equal to memory limit"), "{trouble}");
    let bold = store(&plan, &world, "bold");
    assert_eq!((bold.action, &bold.trouble), (StoreAction::Add, &None), "{bold:?}");

    // A policy speaks for namespaces that nobody knows yet.
    let selectors =
        json!({"objectSelector": {"matchLabels": {"storekeeper.dev/store": world.store("bold")}}});
    let deployments = ("apps", "deployments");
    let _policy =
        refuse_where(&world, deployments, &["CREATE"], ("false", "'not while I am here'"), &selectors);
    let doubts = until("the policy is in force", || {
        let plan = planner.plan(Some(&base), &planner.snapshot(&world));
        let bold = store(&plan, &world, "bold").clone();
        let notes: Vec<_> = bold.objects.iter().filter_map(|it| it.note.clone()).collect();
        (!notes.is_empty()).then_some((bold.action, notes))
    });
    assert_eq!(doubts.0, StoreAction::Add);
    assert!(
        doubts.1.iter().all(|it| it.starts_with("may be refused") && it.contains("not while I am")),
        "{doubts:?}"
    );
    assert!(world.cluster.list("apps/v1", "Deployment", "default").is_empty(), "nothing was made");
}

#[test]
fn what_cant_be_changed_in_place_is_told_and_nothing_is_touched() {
    let world = World::new();
    let chart = turned_chart::write(world.folder.path());
    let more =
        ["--probe", "objects", "--chart", chart.to_str().unwrap(), "--chart-kinds", turned_chart::KIND];
    let (url, folder) = (world.repository.url(), world.folder.path());
    let daemon =
        Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more);
    world.write_store("acme", "acme");
    world.repository.push("acme");
    world.until_state(&daemon, "acme", "READY");
    let planner = Planner::new(&world, &chart);
    let base = planner.snapshot(&world);
    until_seen(&planner, &world, &base);
    let versions = || {
        let kinds = [("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "ConfigMap"), ("v1", "Secret")];
        let all = kinds.map(|(version, kind)| world.cluster.list(version, kind, &world.namespace("acme")));
        let all = all.into_iter().flatten();
        all.map(|it| it["metadata"]["resourceVersion"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = versions();

    write(&world, "acme", "{recreated: two, free: two}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(plan.verdict, PlanVerdict::Changes, "{}", plan.text(false));
    let acme = store(&plan, &world, "acme");
    let shown = lines(acme);
    for object in
        ["Deployment/web", "DaemonSet/agent", "Service/web", "ConfigMap/frozen", "RoleBinding/reader"]
    {
        assert!(shown.contains(&format!("± {object}")), "{object}: {shown:?}");
    }
    assert!(shown.contains(&"data.turn: one > two".to_owned()), "{shown:?}");
    assert!(shown.contains(&"spec.selector.matchLabels.turn: one > two".to_owned()), "{shown:?}");

    world.write_store("acme", "acme");
    write(&world, "acme", "{refused: two}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!(plan.verdict, PlanVerdict::Wrong);
    let acme = store(&plan, &world, "acme");
    for (object, advice) in [
        ("StatefulSet", "--cascade=orphan"),
        ("Job", "a hash of its content"),
        ("PersistentVolumeClaim", "another name"),
        ("Secret", "Secret of another name"),
    ] {
        let found = acme.objects.iter().find(|it| it.kind == object).unwrap();
        assert_eq!(found.action, ObjectAction::Refused, "{found:?}");
        assert!(found.note.as_ref().unwrap().contains(advice), "{found:?}");
    }
    assert!(!plan.text(false).contains("canary"), "{}", plan.text(false));
    assert_eq!(versions(), before, "nothing is written");
}

/// Puts what a Secret holds wherever a chart can put it.
const LEAKS: &str = r#"
{{- $secret := lookup "v1" "Secret" .Release.Namespace "password" }}
{{- $password := dig "data" "password" (randAlphaNum 24 | b64enc) $secret | b64dec }}
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData:
  password: {{ $password | quote }}
  given: {{ .Values.given | quote }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  annotations:
    sum: {{ $password | sha256sum }}
    example.com/again: {{ printf "%s %s" .Values.store.displayName $password | quote }}
data:
  name: {{ .Values.store.displayName | quote }}
  cut: {{ $password | trunc 8 }}
  upper: {{ $password | upper }}
  encoded: {{ printf "%s-%s" .Values.store.displayName $password | b64enc }}
  url: {{ printf "postgres://%s:%s@db/" .Values.store.displayName $password }}
  given: {{ printf "%s and %s" .Values.given .Values.store.displayName | quote }}
  {{ $password }}: {{ .Values.store.displayName | quote }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ printf "x%s" ($password | lower | trunc 12) }}}
data: {name: {{ .Values.store.displayName | quote }}}
"#;

fn write_chart(world: &World, template: &str) -> std::path::PathBuf {
    let chart = world.folder.path().join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: leaks\nversion: 1.0.0\n").unwrap();
    std::fs::write(chart.join("values.yaml"), "given: canary-default\n").unwrap();
    std::fs::write(chart.join("values-local.yaml"), "{}\n").unwrap();
    std::fs::write(chart.join("templates/all.yaml"), template).unwrap();
    chart
}

fn start(world: &World, chart: &Path) -> Daemon {
    let more = ["--probe", "objects", "--chart", chart.to_str().unwrap()];
    let (url, folder) = (world.repository.url(), world.folder.path());
    Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more)
}

/// Everything that is ever shown of a plan.
fn everything(plan: &PlanReport) -> String {
    let json = serde_json::to_string(plan).unwrap();
    [json, plan.text(true), plan.markdown(None), plan.summary()].join("\n")
}

#[test]
fn what_a_secret_holds_is_never_shown_wherever_the_chart_puts_it() {
    let world = World::new();
    let chart = write_chart(&world, LEAKS);
    let daemon = start(&world, &chart);
    world.write_store("acme", "acme");
    write(&world, "acme", "{given: canary-before}");
    world.repository.push("acme");
    world.until_state(&daemon, "acme", "READY");
    let planner = Planner::new(&world, &chart);
    let base = planner.snapshot(&world);
    until_seen(&planner, &world, &base);
    let secret = world.cluster.get("v1", "Secret", &world.namespace("acme"), "password").unwrap();
    let encoded = secret["data"]["password"].as_str().unwrap().to_owned();
    let password = String::from_utf8(BASE64_STANDARD.decode(&encoded).unwrap()).unwrap();
    let digest = sha2::Sha256::digest(&password);
    let hash = digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let leaks = [
        password.clone(),
        encoded,
        hash,
        password[..8].to_owned(),
        password.to_uppercase(),
        password.to_lowercase()[..12].to_owned(),
        BASE64_STANDARD.encode(format!("acme-{password}")),
        BASE64_STANDARD.encode(format!("Renamed-{password}")),
        "canary".to_owned(),
    ];

    write_named(&world, "acme", "Renamed", "{given: canary-after}");
    let proposed = planner.snapshot(&world);
    let stranger = Outlook { lookups: false, ..Outlook::new(now()) };
    for (who, outlook) in [("maintainer", Outlook::new(now())), ("stranger", stranger)] {
        let plan = planner.plan_with(Some(&base), &proposed, &outlook);
        let shown = everything(&plan);
        for leak in &leaks {
            assert!(!shown.contains(leak), "{who} is shown {leak}:\n{shown}");
        }
        let acme = lines(store(&plan, &world, "acme"));
        assert!(acme.contains(&"data.name: acme > Renamed".to_owned()), "{who}: {acme:?}");
        assert!(acme.contains(&"~ Secret/password".to_owned()), "{who}: {acme:?}");
        let hidden = |path: &str| acme.contains(&format!("{path}: *** > ***"));
        assert!(hidden("data.given") || hidden("stringData.given"), "{who}: {acme:?}");
        assert!(!acme.iter().any(|line| line.contains("data.password")), "{who}: {acme:?}");
    }
    // A refusal may repeat what was sent.
    let words = "'no: ' + object.data.url + ' ' + object.data.given";
    let _policy = refuse(&world, ("", "configmaps"), &["UPDATE"], ("!has(object.data.given)", words));
    let refused = until("the policy is in force", || {
        let plan = planner.plan(Some(&base), &proposed);
        (plan.verdict == PlanVerdict::Wrong).then_some(plan)
    });
    for leak in &leaks {
        assert!(!everything(&refused).contains(leak), "{leak}: {}", refused.text(false));
    }
}

#[test]
fn a_chart_that_runs_what_values_say_is_planned_without_any_secret() {
    let world = World::new();
    let template = LEAKS.replace(
        "name: {{ .Values.store.displayName | quote }}\n  cut",
        "name: {{ tpl .Values.text . | quote }}\n  cut",
    );
    let chart = write_chart(&world, &template);
    std::fs::write(chart.join("values.yaml"), "given: x\ntext: plain\n").unwrap();
    let daemon = start(&world, &chart);
    world.write_store("acme", "acme");
    world.repository.push("acme");
    world.until_state(&daemon, "acme", "READY");
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let planner = Planner::on(&world, &chart, &proxy.kubeconfig);
    let base = planner.snapshot(&world);
    write(
        &world,
        "acme",
        r#"{text: '{{ dig "data" "password" "" (lookup "v1" "Secret" .Release.Namespace "password") }}!'}"#,
    );
    proxy.forget();
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert!(says(&plan.warnings, "`tpl`"), "{:?}", plan.warnings);
    assert!(says(&store(&plan, &world, "acme").warnings, "planned without Secrets"), "{}", plan.text(false));
    assert!(
        lines(store(&plan, &world, "acme")).contains(&"data.name: plain > !".to_owned()),
        "{}",
        plan.text(false)
    );
    let of_secrets = proxy.count(|call| call.path.contains("/secrets"));
    assert_eq!(of_secrets, 0, "{:?}", proxy.seen());
}

#[test]
fn a_chart_that_a_change_brings_along_is_planned_without_any_secret() {
    let world = World::new();
    let chart = |text: &str| {
        let template = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{text: {text}}}\n---\n\
            apiVersion: v1\nkind: Secret\nmetadata: {{name: password}}\nstringData: {{password: canary}}\n"
        );
        world.repository.write("charts/page/Chart.yaml", "apiVersion: v2\nname: page\nversion: 1.0.0\n");
        world.repository.write("charts/page/templates/all.yaml", &template);
    };
    chart("plain");
    world.write_fleet("charts: {page: {folder: charts/page}}\n  chart: page");
    world.repository.write("values/none.yaml", "{}\n");
    let fleet = std::fs::read_to_string(world.repository.checkout.join("storekeeper.yaml")).unwrap();
    world.repository.write("storekeeper.yaml", &fleet.replace("chart:values-local.yaml", "values/none.yaml"));
    let daemon = world.start_daemon();
    world.write_store("acme", "acme");
    world.repository.push("acme");
    world.until_state(&daemon, "acme", "READY");
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let planner = Planner::on(&world, built_in(), &proxy.kubeconfig);
    let base = planner.snapshot(&world);
    chart(r#"{{ dig "data" "password" "none" (lookup "v1" "Secret" .Release.Namespace "password") }}"#);
    proxy.forget();
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert!(says(&plan.warnings, "chart `page` is not the one in force"), "{:?}", plan.warnings);
    let acme = lines(store(&plan, &world, "acme"));
    assert!(acme.contains(&"data.text: plain > none".to_owned()), "{acme:?}");
    let of_secrets = proxy.count(|call| call.path.contains("/secrets"));
    assert_eq!(of_secrets, 0, "{:?}", proxy.seen());
}

#[test]
fn one_changed_store_of_a_thousand_costs_its_own_requests_and_no_others() {
    let (world, _daemon) = World::with_ready(&["acme"]);
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let planner = Planner::on(&world, built_in(), &proxy.kubeconfig);
    for number in 1..1000 {
        world.write_store(&format!("other-{number}"), "Other");
    }
    let base = planner.snapshot(&world);
    assert_eq!(base.stores.len(), 1000);
    world.write_store("acme", "Renamed");
    let proposed = planner.snapshot(&world);
    proxy.forget();
    let begun = std::time::Instant::now();
    let plan = planner.plan(Some(&base), &proposed);
    let took = begun.elapsed();
    let calls: Vec<_> =
        proxy.seen().into_iter().map(|seen| seen.call).filter(|call| !call.is_watch()).collect();
    println!("{} requests in {took:?}", calls.len());
    for call in &calls {
        println!("{} {}?{}", call.verb, call.path, call.query);
        assert!(call.concerns(&world.namespace("acme")), "{call:?}");
        assert!(!call.is_write() || call.query.contains("dryRun=All"), "{call:?}");
    }
    assert_eq!((plan.stores.len(), plan.unchanged), (1, 999), "{}", plan.text(false));
    assert!((1..=40).contains(&calls.len()), "{} requests", calls.len());
}

#[test]
fn a_tag_that_was_moved_is_seen_in_what_pods_run() {
    let (world, _daemon) = World::with_ready(&["acme"]);
    let planner = Planner::new(&world, built_in());
    let base = planner.snapshot(&world);
    let namespace = world.namespace("acme");
    let template =
        world.cluster.get("apps/v1", "Deployment", &namespace, "storefront").unwrap()["spec"]["template"]
            .clone();
    for (name, digest) in [("one", "sha256:1"), ("two", "sha256:2")] {
        let body = json!({"metadata": {"name": name}, "spec": template["spec"]});
        world.cluster.create("v1", "Pod", &namespace, body);
        until("the pod runs", || {
            let pod = world.cluster.get("v1", "Pod", &namespace, name)?;
            (pod["status"]["phase"] == "Running").then_some(())
        });
        until("the pod runs what it runs", || {
            let status = json!([{"name": "storefront", "image": "x", "imageID": digest, "ready": true, "restartCount": 0}]);
            world.cluster.patch_status("v1", "Pod", &namespace, name, &json!({"containerStatuses": status}));
            let pod = world.cluster.get("v1", "Pod", &namespace, name)?;
            (pod["status"]["containerStatuses"][0]["imageID"] == digest).then_some(())
        });
    }
    write(&world, "acme", "{storefront: {resources: {limits: {memory: 300Mi}}}}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    let acme = store(&plan, &world, "acme");
    assert!(says(&acme.warnings, "the tag of image storekeeper/storefront:0.1.0 was moved"), "{acme:?}");
}

#[test]
fn a_claim_that_is_no_longer_rendered_is_lost_and_told_so() {
    let world = World::new();
    let claim = "{{- if .Values.given }}\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: pictures}\nspec: \
                 {accessModes: [ReadWriteOnce], resources: {requests: {storage: 3Gi}}}\n{{- end }}\n---\napiVersion: \
                 v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let chart = write_chart(&world, claim);
    let daemon = start(&world, &chart);
    world.write_store("acme", "acme");
    world.repository.push("acme");
    world.until_state(&daemon, "acme", "READY");
    let planner = Planner::new(&world, &chart);
    let base = planner.snapshot(&world);
    until_seen(&planner, &world, &base);
    write(&world, "acme", "{given: ''}");
    let proposed = planner.snapshot(&world);
    let stranger = Outlook { lookups: false, ..Outlook::new(now()) };
    for outlook in [Outlook::new(now()), stranger] {
        let plan = planner.plan_with(Some(&base), &proposed, &outlook);
        let acme = store(&plan, &world, "acme");
        assert_eq!(lines(acme), ["- PersistentVolumeClaim/pictures"], "{outlook:?}");
        let lost: Vec<_> = acme.lost.iter().map(|it| (it.name.as_str(), it.size.as_deref())).collect();
        assert_eq!(lost, [("pictures", Some("3Gi"))]);
    }
}

#[test]
fn a_new_store_waits_for_a_host_that_one_without_a_file_holds_and_looks_renamed() {
    let (world, _daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 600");
    let planner = Planner::new(&world, &world.folder.path().join("small-chart"));
    let base = planner.snapshot(&world);
    world.repository.remove(&world.file("acme"));
    world.write_store("bonsai", "Bonsai");
    let host = format!("{}.shops.example.com", world.store("acme"));
    world.write_store_with("bonsai", &format!("host: {host}"));
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    let bonsai = store(&plan, &world, "bonsai");
    assert_eq!(bonsai.action, StoreAction::Add, "{}", plan.text(false));
    assert!(bonsai.when.as_ref().unwrap().contains(&format!("when store {} is gone", world.store("acme"))));
    assert!(says(&bonsai.warnings, "under another name"), "{bonsai:?}");
}

#[test]
fn stores_beyond_the_limit_are_counted_and_what_is_wrong_with_them_counts() {
    let (world, _daemon) = World::with_small(&["acme"], "deletionBudget: {maxStores: 2}");
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let planner = Planner::on(&world, &world.folder.path().join("small-chart"), &proxy.kubeconfig);
    let base = planner.snapshot(&world);
    for number in 0..510 {
        world.write_store(&format!("s{number:03}"), "Shop");
    }
    proxy.forget();
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!((plan.stores.len(), plan.truncated.stores, plan.unchanged), (500, 10, 1));
    assert_eq!(plan.verdict, PlanVerdict::Changes);
    assert!(plan.summary().starts_with("500 to add, 10 to change: "), "{}", plan.summary());
    let calls: Vec<_> =
        proxy.seen().into_iter().map(|seen| seen.call).filter(|call| !call.is_watch()).collect();
    assert_eq!(calls.len(), 500, "a new store of this chart has one object to try");
    let elsewhere = "/api/v1/namespaces/default/configmaps/storekeeper-tries-this-out";
    let is_tried = |call: &Call| call.path == elsewhere && call.query.contains("dryRun=All");
    assert!(calls.iter().all(is_tried), "{calls:?}");
    write(&world, "s509", "{wrong: 'not so'}");
    let plan = planner.plan(Some(&base), &planner.snapshot(&world));
    assert_eq!((plan.verdict, plan.truncated.stores), (PlanVerdict::Wrong, 9));
    assert!(store(&plan, &world, "s509").trouble.as_ref().unwrap().contains("not so"));
    assert!(plan.markdown(None).chars().count() <= 60_000);
}
