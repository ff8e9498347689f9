//! Counts requests in the API server's audit log, by who sent them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// The log, from some moment on.
pub struct Audit {
    path: PathBuf,
    from: u64,
}

/// A request that meant to change something in a namespace, or the namespace itself.
pub struct Write {
    pub namespace: String,
    /// Who asked, also where he logged in as somebody else.
    pub user: String,
    /// When it came, as the server writes it: such texts are in the order of time.
    pub at: String,
}

/// What means to change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// The requests of one program in a time.
#[derive(Debug, Default)]
pub struct Requests {
    /// By verb, watches and leases left out.
    pub verbs: BTreeMap<String, usize>,
    /// Watches that began.
    pub watches: usize,
    /// Requests for a lease.
    pub leases: usize,
    /// What was asked, by verb, resource and answer: tells where unexpected requests come from.
    pub kinds: BTreeMap<String, usize>,
}

impl Requests {
    /// Returns how many there were, watches and leases left out.
    pub fn total(&self) -> usize {
        self.verbs.values().sum()
    }

    /// Returns how many meant to change something.
    pub fn writes(&self) -> usize {
        WRITES.iter().filter_map(|verb| self.verbs.get(*verb)).sum()
    }
}

impl Audit {
    /// Begins to count at the end of the log.
    pub fn from_now(path: PathBuf) -> Self {
        let from = std::fs::metadata(&path).unwrap_or_else(|error| panic!("the audit log: {error}")).len();
        Self { path, from }
    }

    /// Counts the requests of a program, named by the start of its user agent, up to now.
    pub fn count(&self, agent: &str) -> Requests {
        let mut requests = Requests::default();
        self.each(agent, |event| requests.add(event));
        requests
    }

    /// Returns a program's requests that meant to change something and were carried out or refused by now.
    pub fn writes(&self, agent: &str) -> Vec<Write> {
        let mut writes = Vec::new();
        self.each(agent, |event| {
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let resource = text("/objectRef/resource");
            if text("/stage") == "ResponseComplete" && WRITES.contains(&text("/verb")) {
                let of = if resource == "namespaces" { "/objectRef/name" } else { "/objectRef/namespace" };
                let user = match text("/impersonatedUser/username") {
                    "" => text("/user/username"),
                    other => other,
                };
                writes.push(Write {
                    namespace: text(of).to_owned(),
                    user: user.to_owned(),
                    at: text("/requestReceivedTimestamp").to_owned(),
                });
            }
        });
        writes
    }

    fn each(&self, agent: &str, mut with: impl FnMut(&Value)) {
        let mut file = File::open(&self.path).unwrap();
        assert!(
            file.metadata().unwrap().len() >= self.from,
            "the audit log was rotated while it was counted"
        );
        file.seek(SeekFrom::Start(self.from)).unwrap();
        let needle = format!("\"userAgent\":\"{agent}");
        for line in BufReader::new(file).lines() {
            let line = line.unwrap();
            // Most lines are of others: only ours are parsed.
            if line.contains(&needle)
                && let Ok(event) = serde_json::from_str::<Value>(&line)
            {
                with(&event);
            }
        }
    }
}

impl Requests {
    fn add(&mut self, event: &Value) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (verb, stage, resource) = (text("/verb"), text("/stage"), text("/objectRef/resource"));
        match (verb, stage) {
            ("watch", "ResponseStarted") => self.watches += 1,
            ("watch", _) | (_, "ResponseStarted") => {}
            _ if resource == "leases" => self.leases += 1,
            _ => {
                *self.verbs.entry(verb.to_owned()).or_default() += 1;
                let code = event.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or_default();
                *self.kinds.entry(format!("{verb} {resource} {code}")).or_default() += 1;
            }
        }
    }
}
