//! Promise: values that would lose data or orders, or that can't work, are refused with a message that says why.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;

use chart::render;
use serde_json::{Value, json};

fn refused(over: &Value) -> String {
    render(&[], over, "store-acme").map(|_| ()).expect_err(&over.to_string())
}

#[test]
fn what_loses_or_doubles_orders() {
    for scaled in [json!({"replicas": 2}), json!({"autoscaling": {"enabled": true}})] {
        let rwx = json!({"storage": {"accessMode": "ReadWriteMany"}});
        let error = refused(&json!({"api": scaled, "files": rwx}));
        assert!(error.contains("without Redis every pod has its own events"), "{error}");
        let postgres = json!({"maxConnections": 200});
        let error = refused(&json!({"api": scaled, "redis": {"mode": "embedded"}, "postgres": postgres}));
        assert!(error.contains("pods on other nodes could not mount the uploads"), "{error}");
        let good = json!({"api": scaled, "files": rwx, "redis": {"mode": "embedded"}, "postgres": postgres});
        render(&[], &good, "store-acme").unwrap();
    }
    let worker = json!({"redis": {"mode": "embedded"}, "worker": {"replicas": 2}});
    assert!(refused(&worker).contains("worker.replicas > 1 needs files.provider s3"));
    let worker = json!({"redis": {"mode": "embedded"}, "worker": {"replicas": 0}});
    assert!(refused(&worker).contains("events of orders would wait in Redis and nobody would handle them"));
    let error = refused(&json!({"postgres": {"maxConnections": 52}}));
    assert!(error.contains("is 52 where 53 are needed: 4 pods"), "{error}");
    render(&[], &json!({"postgres": {"maxConnections": 53}}), "store-acme").unwrap();
}

#[test]
fn a_last_backup_that_would_go_with_the_store() {
    let error = refused(&json!({"backup": {"final": true}}));
    assert!(error.contains("the volume goes with the store"), "{error}");
    let error = refused(&json!({"backup": {"final": true, "enabled": false}}));
    assert!(error.contains("backup.final needs backup.enabled"), "{error}");
    let bucket = json!({"bucket": "backups", "existingSecret": "backup-s3"});
    let over = json!({"backup": {"final": true, "destination": "s3", "s3": bucket}});
    let objects = serde_json::to_string(&render(&[], &over, "store-acme").unwrap()).unwrap();
    assert!(objects.contains(r#""storekeeper.dev/final-backup":"true""#));
}

#[test]
fn what_nobody_could_log_in_to_or_reach() {
    for (over, message) in [
        (json!({"cookie": {"secure": false}}), "session cookies would also travel in plain text"),
        (json!({"ingress": {"tls": {"enabled": false}}}), "over plain http browsers get no session cookie"),
        (json!({"network": {"ingressNamespaces": []}}), "would keep the ingress controller out"),
        (json!({"api": {"autoscaling": {"minReplicas": 9, "enabled": true}}}), "minReplicas is greater than"),
        (
            json!({"storefront": {"autoscaling": {"minReplicas": 9, "enabled": true}}}),
            "minReplicas is greater",
        ),
    ] {
        let error = refused(&over);
        assert!(error.contains(message), "{over}: {error}");
    }
}

#[test]
fn servers_and_buckets_elsewhere_without_what_it_takes() {
    let host = json!({"host": "db.example.com"});
    let reachable = json!({"host": "db.example.com", "cidrs": ["10.0.0.0/8"]});
    for (over, message) in [
        (json!({"postgres": {"mode": "external"}}), "postgres.external.host is required"),
        (json!({"postgres": {"mode": "external", "external": host}}), "would not be the server's"),
        (
            json!({"postgres": {"mode": "external", "external": host, "existingSecret": "db"}}),
            "must open the way to the server",
        ),
        (
            json!({"redis": {"mode": "external"}}),
            "redis.external.existingSecret (or externalSecrets) is required",
        ),
        (
            json!({"redis": {"mode": "external", "external": {"existingSecret": "r"}}}),
            "must open the way to Redis",
        ),
        (json!({"files": {"provider": "s3"}}), "files.s3.bucket is required"),
        (
            json!({"files": {"provider": "s3", "s3": {"bucket": "abc"}}}),
            "files.s3.existingSecret (or external",
        ),
        (
            json!({"files": {"provider": "s3", "s3": {"bucket": "abc", "existingSecret": "s", "endpoint": "http://minio:9000"}}}),
            "browsers load the pictures from there",
        ),
        (json!({"backup": {"destination": "s3"}}), "backup.s3.bucket is required"),
        (json!({"backup": {"destination": "s3", "s3": {"bucket": "abc"}}}), "backup.s3.existingSecret"),
        (
            json!({"restore": {"file": "a.dump"}, "postgres": {"mode": "external", "external": reachable, "existingSecret": "db"}}),
            "restore.file needs postgres.mode embedded",
        ),
        (json!({"restore": {"file": "acme/a.dump"}}), "the volume has no folders"),
        (json!({"externalSecrets": {"enabled": true}}), "externalSecrets.storeRef.name is required"),
    ] {
        let error = refused(&over);
        assert!(error.contains(message), "{over}: {error}");
    }
}

#[test]
fn two_sources_for_one_secret() {
    for (path, over) in [
        ("existingSecret", json!({"existingSecret": "x"})),
        ("postgres.existingSecret", json!({"postgres": {"existingSecret": "x"}})),
        ("redis.existingSecret", json!({"redis": {"existingSecret": "x"}})),
        ("redis.external.existingSecret", json!({"redis": {"external": {"existingSecret": "x"}}})),
        ("files.s3.existingSecret", json!({"files": {"s3": {"existingSecret": "x"}}})),
        ("backup.s3.existingSecret", json!({"backup": {"s3": {"existingSecret": "x"}}})),
    ] {
        let mut over = over;
        over["externalSecrets"] = json!({"enabled": true, "storeRef": {"name": "vault"}});
        let error = refused(&over);
        assert!(error.contains(&format!("{path} and externalSecrets.enabled exclude each other")), "{error}");
    }
}

#[test]
fn what_the_schema_refuses() {
    for over in [
        json!({"image": {"tag": "latest"}}),
        json!({"backup": {"image": {"tag": "latest"}}}),
        json!({"backup": {"keep": 0}}),
        json!({"backup": {"schedule": "daily"}}),
        json!({"restore": {"file": "../a.dump"}}),
        json!({"restore": {"file": "a b.dump"}}),
        json!({"redis": {"mode": "sentinel"}}),
        json!({"redis": {"storage": {"size": "0"}}}),
        json!({"files": {"s3": {"endpoint": "minio:9000"}}}),
        json!({"externalSecrets": {"storeRef": {"kind": "Secret"}}}),
        json!({"api": {"autoscaling": {"targetCPUUtilization": 0}}}),
        json!({"nonsense": true}),
    ] {
        refused(&over);
    }
}

#[test]
fn one_restore_is_one_setting_whatever_else_changes() {
    let id = |over: &Value| {
        let objects = render(&[], over, "store-acme").unwrap();
        let job = objects.iter().find(|object| object["kind"] == "Job").unwrap();
        let init = &job["spec"]["template"]["spec"]["initContainers"][0];
        assert_eq!(init["name"], "restore");
        let env = init["env"].as_array().unwrap();
        let id = env.iter().find(|entry| entry["name"] == "RESTORE_ID").unwrap()["value"].clone();
        (job["metadata"]["name"].clone(), id)
    };
    let (first_job, first) = id(&json!({"restore": {"file": "a.dump"}}));
    let (renamed_job, renamed) = id(&json!({"restore": {"file": "a.dump"}, "store": {"displayName": "New"}}));
    assert_ne!(first_job, renamed_job);
    assert_eq!(first, renamed, "a new display name must not restore again and lose the orders since");
    assert_ne!(first, id(&json!({"restore": {"file": "a.dump", "request": 2}})).1);
    assert_ne!(first, id(&json!({"restore": {"file": "b.dump"}})).1);
}
