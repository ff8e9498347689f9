//! Carries out a plan: pushes, faults and kills, and after each round a look at what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::faults;
use super::judge::{History, Pushed, Settled, Violation, violations};
use super::live::Live;
use super::plan::{Act, GitFault, KillPoint, Push, Round, Weather};
use super::tree::{NAMES, Tree};
use super::witness::{Kind, Witness};
use crate::common::api_proxy::{ApiProxy, Rule};
use crate::common::cluster::Cluster;
use crate::common::daemon::Daemon;
use crate::common::repository::{Repository, git};
use crate::git_server::{Identity, Server};

/// How long the cluster may take to become equal to git once faults have stopped: machines are shared, a hanging request
/// has to time out, and backoff goes up to minutes where stores failed often.
const DEADLINE: Duration = Duration::from_secs(180);

/// How long a kill waits for the call it aims at.
const AIM_PATIENCE: Duration = Duration::from_secs(5);

/// How long nothing may be written for the daemon to count as at rest.
const REST: Duration = Duration::from_secs(3);

/// Whose cluster, and under which names.
pub struct Place {
    pub kubeconfig: PathBuf,
    /// A folder for repository, state and logs.
    pub folder: PathBuf,
    /// What the names of stores begin with, and the source.
    pub prefix: String,
    pub seed: u64,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Figures {
    pub rounds: usize,
    pub kills: usize,
    /// Kills that met the call they aimed at.
    pub aimed: usize,
    pub commits: usize,
    pub faults: BTreeMap<String, usize>,
    pub stores: usize,
    pub seconds: u64,
    pub violations: Vec<String>,
}

impl Figures {
    /// The line that comes last.
    pub fn line(&self, seed: u64) -> String {
        let Self { rounds, kills, aimed, commits, faults, stores, seconds, violations } = self;
        let sum: usize = faults.values().sum();
        let kinds: Vec<_> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!(
            "chaos: seed {seed}, {rounds} rounds in {seconds} s, {kills} kills ({aimed} at an aimed call), {commits} commits, \
             {stores} namespaces made, {sum} faults ({}), {} violations",
            kinds.join(", "),
            violations.len()
        )
    }
}

/// Everything that a run needs; its stores go when it is dropped.
pub struct Chaos {
    place: Place,
    repository: Repository,
    remote: Server,
    proxy: ApiProxy,
    cluster: Cluster,
    live: Live,
    witness: Witness,
    daemon: Option<Daemon>,
    weather: Weather,
    /// Commits of pushes, by their number.
    commits: Vec<String>,
    pushed: Vec<Pushed>,
    settled: Vec<Settled>,
    other_faults: BTreeMap<String, usize>,
    figures: Figures,
    begun: Instant,
}

impl Chaos {
    pub fn start(place: Place) -> Self {
        let repository = Repository::new(&place.folder);
        let authority = Identity::new("Chaos CA", None, true, &[], 30);
        let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
        authority.write_pem(&place.folder.join("ca.pem"));
        let remote = Server::start(&identity, &[], faults::answer(GitFault::Well, &place.folder));
        let proxy = ApiProxy::start(&place.kubeconfig, &place.folder, place.seed);
        let cluster = Cluster::connect(place.kubeconfig.clone());
        let live = Live::new(&place.kubeconfig, &place.prefix, &place.prefix);
        let witness = Witness::start(&place.kubeconfig, &place.prefix);
        Self {
            place,
            repository,
            remote,
            proxy,
            cluster,
            live,
            witness,
            daemon: None,
            weather: Weather::Calm,
            commits: Vec::new(),
            pushed: Vec::new(),
            settled: Vec::new(),
            other_faults: BTreeMap::new(),
            figures: Figures::default(),
            begun: Instant::now(),
        }
    }

    /// Carries out the rounds up to the first violation.
    pub fn run(mut self, rounds: &[Round]) -> Figures {
        for (number, round) in rounds.iter().enumerate() {
            let begun = Instant::now();
            let before = (self.figures.kills, self.commits.len());
            for act in &round.acts {
                self.act(act);
            }
            let (kills, commits) = (self.figures.kills - before.0, self.commits.len() - before.1);
            let faulty = begun.elapsed();
            self.settle();
            self.count_faults();
            self.figures.rounds += 1;
            eprintln!(
                "round {}/{}: {:?}, {commits} commits and {kills} kills in {:.0} s, then equal to git after {:.1} s",
                number + 1,
                rounds.len(),
                round.kind,
                faulty.as_secs_f64(),
                begun.elapsed().saturating_sub(faulty).as_secs_f64(),
            );
            if !self.figures.violations.is_empty() {
                break;
            }
        }
        if self.figures.violations.is_empty() {
            self.rest();
        }
        self.finish()
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Push(push) => self.push(push),
            Act::Weather(weather) => self.set_weather(*weather),
            Act::Git(fault) => self.set_git(*fault),
            Act::Interrupt(how) => {
                self.proxy.interrupt_watches(faults::interruption(*how), |_| true);
            }
            Act::Meddle(name, kind, object) => {
                if self.live.delete(name, kind, object) {
                    *self.other_faults.entry("object deleted".to_owned()).or_default() += 1;
                }
            }
            Act::Kill(point, away) => self.kill(*point, *away),
            Act::Pause(time) => {
                self.ensure_daemon();
                sleep(*time);
            }
            Act::UntilEqual => self.settle(),
            Act::UntilRefused => self.until_refused(),
        }
    }

    fn push(&mut self, push: &Push) {
        let checkout = &self.repository.checkout;
        let at = Instant::now();
        let commit = if let Some(earlier) = push.back_to {
            let commit = self.commits[earlier].clone();
            git(checkout, &["reset", "--quiet", "--hard", &commit]);
            git(checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
            commit
        } else {
            push.tree.write(checkout, &self.place.prefix);
            self.repository.push(&push.title)
        };
        self.commits.push(commit);
        self.pushed.push(Pushed { at, tree: push.tree.clone(), refused: push.refused.clone() });
        self.figures.commits += 1;
    }

    fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        self.set_rules(None);
    }

    /// Puts the weather's rules behind that of a kill's aim.
    fn set_rules(&self, aim: Option<Rule>) {
        self.proxy.clear();
        for rule in aim.into_iter().chain(faults::rules(self.weather)) {
            self.proxy.add(rule);
        }
    }

    fn set_git(&mut self, fault: GitFault) {
        if fault != GitFault::Well {
            *self.other_faults.entry(format!("git {fault:?}").to_lowercase()).or_default() += 1;
        }
        self.remote.set(faults::answer(fault, &self.place.folder));
    }

    fn ensure_daemon(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        let ca_file = self.place.folder.join("ca.pem");
        let more = ["--probe", "objects", "--poll-seconds", "1", "--git-ca-file", ca_file.to_str().unwrap()];
        let url = format!("https://localhost:{}/fleet.git", self.remote.port);
        let (folder, source) = (&self.place.folder, &self.place.prefix);
        let kubeconfig = &self.proxy.kubeconfig;
        self.daemon = Some(Daemon::start_on("127.0.0.1:0", folder, &url, source, kubeconfig, &more));
    }

    fn kill(&mut self, point: KillPoint, away: Duration) {
        match point {
            KillPoint::After(time) => {
                self.ensure_daemon();
                sleep(time);
            }
            KillPoint::At { aim, nth, landed } => {
                let (rule, mut told) = faults::aim(aim, nth, landed).told();
                self.set_rules(Some(rule));
                self.ensure_daemon();
                let until = Instant::now() + AIM_PATIENCE;
                while Instant::now() < until {
                    if told.try_recv().is_ok() {
                        self.figures.aimed += 1;
                        break;
                    }
                    sleep(Duration::from_millis(2));
                }
            }
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
            self.figures.kills += 1;
        }
        self.set_rules(None);
        sleep(away);
    }

    /// Stops all faults and waits until the cluster is equal to git; then judges all that was seen.
    fn settle(&mut self) {
        self.set_weather(Weather::Calm);
        self.set_git(GitFault::Well);
        self.ensure_daemon();
        let Some(tree) = self.pushed.last().map(|push| push.tree.clone()) else { return };
        let deadline = Instant::now() + DEADLINE;
        loop {
            let begun = Instant::now();
            let differences = self.live.differences(&tree);
            if differences.is_empty() {
                let push = self.pushed.len() - 1;
                self.settled.push(Settled { at: begun, push });
                break;
            }
            if Instant::now() > deadline {
                let few: Vec<_> = differences.into_iter().take(5).collect();
                let what = format!("not equal to git after {} s: {}", DEADLINE.as_secs(), few.join("; "));
                self.report(&Violation { at: None, what });
                break;
            }
            sleep(Duration::from_millis(200));
        }
        self.judge();
    }

    fn judge(&mut self) {
        let prefix = format!("store-{}-", self.place.prefix);
        let name_of = |namespace: &str| {
            let name = namespace.strip_prefix(&prefix)?;
            NAMES.iter().copied().find(|known| *known == name)
        };
        let seen = self.witness.seen();
        let history = History { seen: &seen, pushed: &self.pushed, settled: &self.settled };
        let live = &mut self.live;
        let mut jobs_of = |tree: &Tree, name: &'static str| live.jobs(tree, name);
        for violation in violations(history, &name_of, &mut jobs_of) {
            self.report(&violation);
        }
    }

    /// Waits until the daemon says that it refuses the removals, so that a round that shows nothing else shows this.
    fn until_refused(&mut self) {
        self.set_weather(Weather::Calm);
        self.set_git(GitFault::Well);
        self.ensure_daemon();
        let deadline = Instant::now() + DEADLINE;
        let refused = |daemon: &Daemon| !daemon.fleet()["removalsRefused"].is_null();
        while !self.daemon.as_ref().is_some_and(refused) {
            if Instant::now() > deadline {
                let what = "removals over the budget are not said to be refused".to_owned();
                return self.report(&Violation { at: None, what });
            }
            sleep(Duration::from_millis(100));
        }
        // A wrong deletion would come now.
        sleep(Duration::from_secs(1));
    }

    /// Once everything is done, nothing is written any more.
    fn rest(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.proxy.forget();
            sleep(REST);
            let written = self.proxy.seen().into_iter().filter(|seen| seen.call.is_write());
            let paths: Vec<_> =
                written.map(|seen| format!("{} {}", seen.call.verb, seen.call.path)).collect();
            if paths.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let what = format!("the daemon does not come to rest: {}", paths.join(", "));
                return self.report(&Violation { at: None, what });
            }
        }
    }

    fn report(&mut self, violation: &Violation) {
        let at = violation.at.map(|at| at.saturating_duration_since(self.begun).as_secs_f64());
        let mut text = format!("round {}", self.figures.rounds + 1);
        if let Some(at) = at {
            let _ = write!(text, ", {at:.1} s");
        }
        let _ = write!(text, ": {}", violation.what);
        if !self.figures.violations.contains(&text) {
            eprintln!("VIOLATION, seed {}, {text}", self.place.seed);
            self.figures.violations.push(text);
        }
    }

    fn count_faults(&mut self) {
        for (kind, count) in self.proxy.faults().into_iter().chain(std::mem::take(&mut self.other_faults)) {
            *self.figures.faults.entry(kind).or_default() += count;
        }
        self.proxy.forget();
    }

    fn finish(mut self) -> Figures {
        let seen = self.witness.seen();
        let namespaces = seen.iter().filter(|sighting| sighting.kind == Kind::Namespace);
        self.figures.stores = namespaces.map(|sighting| &sighting.uid).collect::<BTreeSet<_>>().len();
        let mut figures = std::mem::take(&mut self.figures);
        figures.seconds = self.begun.elapsed().as_secs();
        figures
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        drop(self.daemon.take());
        self.cluster.delete_namespaces(&format!("storekeeper.dev/source={}", self.place.prefix));
    }
}
