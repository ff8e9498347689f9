//! Plans made by hand: one with everything in it, and one with a text in every place.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]

use storekeeper::report::{
    FieldChange, Lost, LostKind, ObjectAction, ObjectChange, PlanProblem, PlanReport, PlanVerdict,
    StoreAction, StorePlanReport, Truncated,
};

fn text(words: &str) -> String {
    words.to_owned()
}

fn field(path: &str, before: Option<&str>, after: Option<&str>) -> FieldChange {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    FieldChange { path: path.to_owned(), before: owned(before), after: owned(after) }
}

fn object(action: ObjectAction, kind: &str, name: &str) -> ObjectChange {
    ObjectChange { action, kind: kind.to_owned(), name: name.to_owned(), fields: Vec::new(), note: None }
}

fn store(name: &str, action: StoreAction) -> StorePlanReport {
    StorePlanReport {
        store: name.to_owned(),
        display_name: Some(text("A Shop")),
        action,
        host: Some(format!("{name}.shops.example.com")),
        objects: Vec::new(),
        lost: Vec::new(),
        warnings: Vec::new(),
        trouble: None,
        when: None,
    }
}

/// A plan with something in every field.
pub fn rich() -> PlanReport {
    PlanReport {
        verdict: PlanVerdict::Wrong,
        base: Some(text("5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80")),
        branch: Some(text("main")),
        head: Some(text("1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304")),
        pull: Some(17),
        made: 1_795_354_496,
        stores: vec![added(), changed(), removed(), kept(), refused()],
        problems: vec![
            PlanProblem {
                path: "stores/broken.yaml".to_owned(),
                line: Some(7),
                column: Some(3),
                message: "unknown field `hots`: did you mean `host`?".to_owned(),
            },
            PlanProblem {
                path: "stores/Bad Name.yaml".to_owned(),
                line: None,
                column: None,
                message: "the file's name can't be a store's".to_owned(),
            },
        ],
        blocked: vec![
            "3 stores would be removed within 60 min, the deletion budget is 2: none of these is removed until \
             spec.deletionBudget.approved in storekeeper.yaml names it (daisy) or its file comes back"
                .to_owned(),
        ],
        warnings: vec!["the fleet's domain becomes shops.example.org (it was shops.example.com)".to_owned()],
        truncated: Truncated { stores: 12, objects: 340 },
        unchanged: 983,
    }
}

fn added() -> StorePlanReport {
    let mut acme = store("acme", StoreAction::Add);
    acme.objects = vec![
        object(ObjectAction::Add, "Namespace", "store-acme"),
        object(ObjectAction::Add, "Deployment", "medusa"),
    ];
    acme.warnings = vec!["image ghcr.io/acme/medusa:edge is named by a tag that moves".to_owned()];
    acme
}

fn changed() -> StorePlanReport {
    let mut bonsai = store("bonsai", StoreAction::Change);
    let mut deployment = object(ObjectAction::Change, "Deployment", "medusa");
    deployment.note = Some(text("somebody else changed it, and it is put back"));
    deployment.fields = vec![
        field("spec.replicas", Some("1"), Some("2")),
        field("spec.template.spec.containers[medusa].image", Some("medusa:1"), Some("medusa:2")),
        field("spec.template.spec.containers[medusa].env[PASSWORD].value", Some("***"), Some("***")),
        field("spec.paused", Some("true"), None),
    ];
    let mut config = object(ObjectAction::Change, "ConfigMap", "scripts");
    config.fields = vec![field("data[run.sh]", Some("…\nold\n…"), Some("…\nnew\nnewer\n…"))];
    let mut service = object(ObjectAction::Recreate, "Service", "web");
    service.note = Some(text("`spec.clusterIP` can't be changed in place: it is deleted and made anew"));
    let mut job = object(ObjectAction::Remove, "Job", "bootstrap-1");
    job.note = Some(text("when the rest runs"));
    bonsai.objects = vec![deployment, config, service, job];
    bonsai.warnings = vec!["a migration will run: Job/bootstrap-2 may change the database".to_owned()];
    bonsai
}

fn removed() -> StorePlanReport {
    let mut chocolate = store("chocolate", StoreAction::Remove);
    let lost = |what, name: &str, size: Option<&str>| Lost {
        what,
        name: name.to_owned(),
        size: size.map(str::to_owned),
        created: Some(text("2026-08-01T10:00:00Z")),
        age: Some(text("113d")),
        note: None,
    };
    let mut uploads = lost(LostKind::Volume, "uploads", Some("100Gi"));
    uploads.note = Some(text("its StorageClass retains the volume itself"));
    chocolate.lost = vec![
        lost(LostKind::Namespace, "store-chocolate", None),
        lost(LostKind::Volume, "data-postgres-0", Some("8Gi")),
        uploads,
    ];
    chocolate.when = Some(text("5m after the merge, unless its file comes back before"));
    chocolate
}

fn kept() -> StorePlanReport {
    store("daisy", StoreAction::Keep)
}

fn refused() -> StorePlanReport {
    let mut elm = store("elm", StoreAction::Wrong);
    elm.trouble = Some(text(
        "Ingress/web would be refused: admission webhook \"policy.example.com\" denied the request",
    ));
    elm.objects = vec![object(ObjectAction::Refused, "Ingress", "web")];
    elm
}

/// The same with a text in every place. No `..`: a new field must get its text.
pub fn with_everywhere(text: &str) -> PlanReport {
    let some = || Some(text.to_owned());
    let in_object = |mut it: ObjectChange| {
        let ObjectChange { action: _, kind, name, fields, note } = &mut it;
        (*kind, *name, *note) = (text.to_owned(), text.to_owned(), some());
        *fields = vec![FieldChange {
            path: text.to_owned(),
            before: some(),
            after: Some(format!("{text}\n{text}x")),
        }];
        it
    };
    let in_lost = |mut it: Lost| {
        let Lost { what: _, name, size, created, age, note } = &mut it;
        (*name, *size, *created, *age, *note) = (text.to_owned(), some(), some(), some(), some());
        it
    };
    let in_store = |mut it: StorePlanReport| {
        let StorePlanReport { store, display_name, action: _, host, objects, lost, warnings, trouble, when } =
            &mut it;
        (*store, *display_name, *host) = (text.to_owned(), some(), some());
        (*trouble, *when, *warnings) = (some(), some(), vec![text.to_owned()]);
        *objects = objects.drain(..).map(in_object).collect();
        *lost = lost.drain(..).map(in_lost).collect();
        it
    };
    let PlanReport {
        verdict,
        base: _,
        branch: _,
        head: _,
        pull,
        made,
        stores,
        problems,
        blocked: _,
        warnings: _,
        truncated,
        unchanged,
    } = rich();
    let problem = |it: PlanProblem| PlanProblem { path: text.to_owned(), message: text.to_owned(), ..it };
    PlanReport {
        verdict,
        base: some(),
        branch: some(),
        head: some(),
        pull,
        made,
        stores: stores.into_iter().map(in_store).collect(),
        problems: problems.into_iter().map(problem).collect(),
        blocked: vec![text.to_owned()],
        warnings: vec![text.to_owned()],
        truncated,
        unchanged,
    }
}
