//! Carries out a plan: pushes, faults and kills, and after each round a look at what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::acts::{Act, Fate, GitFault, KillPoint, Push, Round, Weather};
use super::deletions::{self, InForce};
use super::faults;
use super::judge::{History, Pushed, Settled, Violation, violations};
use super::live::Live;
use super::tree::{NAMES, Settings, StoreFile, Tree};
use super::witness::{Kind, Witness};
use crate::common::api_proxy::{ApiProxy, Rule};
use crate::common::cluster::Cluster;
use crate::common::daemon::{Daemon, lines};
use crate::common::repository::{Repository, git};
use crate::git_server::{Identity, Server};

/// How long the cluster may take to become equal to git once faults have stopped: machines are shared, a hanging request
/// has to time out, and backoff goes up to minutes where stores failed often.
const DEADLINE: Duration = Duration::from_mins(3);

/// How long a kill waits for the call it aims at.
const AIM_PATIENCE: Duration = Duration::from_secs(8);

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
    /// The logs of all daemons, in the order of their lives, and when each began.
    logs: Vec<(SystemTime, PathBuf)>,
    weather: Weather,
    /// Commits of pushes, by their number.
    commits: Vec<String>,
    pushed: Vec<Pushed>,
    settled: Vec<Settled>,
    /// What every store was like that was equal to git when that was looked at last.
    equal: BTreeMap<&'static str, Settings>,
    /// Stores that somebody meddled with since.
    meddled: BTreeSet<&'static str>,
    /// Whether the last meddling found nothing to meddle with.
    in_vain: bool,
    /// Until when a call of a killed daemon may be under way.
    late_until: Instant,
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
            logs: Vec::new(),
            weather: Weather::Calm,
            commits: Vec::new(),
            pushed: Vec::new(),
            settled: Vec::new(),
            equal: BTreeMap::new(),
            meddled: BTreeSet::new(),
            in_vain: false,
            late_until: Instant::now(),
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
            Act::Meddle(how, name, kind, object) => {
                self.meddled.insert(*name);
                self.in_vain = !self.live.meddle(*how, name, kind, object);
                if !self.in_vain {
                    *self.other_faults.entry(format!("meddled {how:?}").to_lowercase()).or_default() += 1;
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
        self.in_vain = false;
        let checkout = &self.repository.checkout;
        let at = Instant::now();
        let commit = if let Some(earlier) = push.back_to {
            let commit = self.commits[earlier].clone();
            git(checkout, &["reset", "--quiet", "--hard", &commit]);
            git(checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
            commit
        } else {
            if push.foreign {
                git(
                    checkout,
                    &["checkout", "--quiet", "--orphan", &format!("foreign-{}", self.commits.len())],
                );
            }
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
        let (kubeconfig, begun) = (&self.proxy.kubeconfig, SystemTime::now());
        let daemon = Daemon::start_on("127.0.0.1:0", folder, &url, source, kubeconfig, &more);
        self.logs.push((begun, daemon.log.clone()));
        self.daemon = Some(daemon);
    }

    fn kill(&mut self, point: KillPoint, away: Duration) {
        match point {
            KillPoint::After(time) => {
                self.ensure_daemon();
                sleep(time);
            }
            KillPoint::At { aim, nth, fate } => {
                let (rule, mut told) = faults::aim(aim, nth, fate).told();
                self.set_rules(Some(rule));
                self.ensure_daemon();
                let patience =
                    if std::mem::take(&mut self.in_vain) { AIM_PATIENCE / 10 } else { AIM_PATIENCE };
                let until = Instant::now() + patience;
                while Instant::now() < until {
                    if told.try_recv().is_ok() {
                        self.figures.aimed += 1;
                        if fate == Fate::Late {
                            self.late_until = Instant::now() + faults::LATE + Duration::from_millis(500);
                        }
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

    /// Stops all faults.
    fn calm(&mut self) {
        self.set_weather(Weather::Calm);
        self.set_git(GitFault::Well);
        self.proxy.end_silence();
        sleep(self.late_until.saturating_duration_since(Instant::now()));
        self.ensure_daemon();
    }

    /// Stops all faults and waits until the cluster is equal to git, and said to be; then judges all that was seen.
    fn settle(&mut self) {
        self.calm();
        let Some(tree) = self.pushed.last().map(|push| self.as_left(&push.tree)) else { return };
        let deadline = Instant::now() + DEADLINE;
        loop {
            let begun = Instant::now();
            let mut differences = self.live.differences(&tree);
            let until = Instant::now();
            if differences.is_empty() {
                differences = self.misreported();
            }
            if differences.is_empty() {
                let push = self.pushed.len() - 1;
                self.settled.push(Settled { at: begun, until, push });
                let equal = |name: &'static str| Some((name, tree.good(name)?.clone()));
                self.equal = NAMES.into_iter().filter_map(equal).collect();
                self.meddled.clear();
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

    /// A broken file leaves its store as it was: where that was equal to git before, and nobody has touched it since, it has
    /// to be so still.
    fn as_left(&self, tree: &Tree) -> Tree {
        let mut left = tree.clone();
        let from = self.settled.last().map_or(0, |settled| settled.push);
        for (name, settings) in &self.equal {
            let same = StoreFile::Good(settings.clone());
            let is_same = |push: &Pushed| match push.tree.stores.get(name) {
                Some(file) => *file == same || matches!(file, StoreFile::Broken(_)),
                None => !push.tree.is_usable(),
            };
            let is_broken = matches!(tree.stores.get(name), Some(StoreFile::Broken(_)));
            if is_broken && !self.meddled.contains(name) && self.pushed[from..].iter().all(is_same) {
                left.stores.insert(*name, same);
            }
        }
        left
    }

    /// What the daemon says that is not so: with the cluster equal to git it has to come to say that.
    fn misreported(&self) -> Vec<String> {
        let (Some(daemon), Some(push)) = (&self.daemon, self.pushed.last()) else { return Vec::new() };
        let fleet = daemon.fleet();
        let wanted = [
            ("revision", self.commits.last().map(String::as_str)),
            ("frozen", None),
            ("removalsRefused", None),
        ];
        let wrong = wanted.into_iter().filter(|(key, wanted)| fleet[*key].as_str() != *wanted);
        let mut wrong: Vec<_> = wrong
            .map(|(key, wanted)| format!("the fleet's {key} is said to be {}, not {wanted:?}", fleet[key]))
            .collect();
        for name in push.tree.good_names() {
            let shown = daemon.store(&format!("{}-{name}", self.place.prefix));
            let state = shown.as_ref().and_then(|shown| shown["state"].as_str());
            if state != Some("READY") {
                wrong.push(format!("store {name} is said to be {state:?}"));
            }
        }
        wrong
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
        for what in self.untimely_deletions() {
            self.report(&Violation { at: None, what });
        }
    }

    /// Holds each request to delete a namespace against what the daemon said that is in force.
    fn untimely_deletions(&self) -> Vec<String> {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let prefix = format!("/api/v1/namespaces/store-{}-", self.place.prefix);
        let deletions = self.proxy.seen().into_iter().filter(|seen| seen.call.verb == "DELETE");
        let deletions = deletions.filter_map(|seen| {
            let name = seen.call.path.strip_prefix(&prefix)?.to_owned();
            Some((name, clock.checked_sub(now.duration_since(seen.at))?))
        });
        let mut said = BTreeMap::new();
        let complaint = |(name, at): (String, SystemTime)| {
            let (begun, log) = self.logs.iter().rev().find(|(begun, _)| *begun <= at)?;
            let said = said.entry(*begun).or_insert_with(|| self.in_force(log));
            deletions::complaint(&name, at, said)
        };
        deletions.filter_map(complaint).collect()
    }

    /// Reads which commits a daemon said to be in force.
    fn in_force(&self, log: &Path) -> Vec<InForce<'_>> {
        let in_force = lines(log).filter(|line| line["message"] == "a new commit is in force");
        let said = in_force.filter_map(|line| {
            let at: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
            let push = self.commits.iter().position(|commit| line["git.commit"] == **commit)?;
            Some(InForce { at: at.into(), tree: &self.pushed[push].tree })
        });
        said.collect()
    }

    /// Waits until the daemon says that it refuses the removals, so that a round that shows nothing else shows this.
    fn until_refused(&mut self) {
        self.calm();
        let deadline = Instant::now() + DEADLINE;
        let newest = self.commits.last().cloned();
        let refused = |daemon: &Daemon| {
            let fleet = daemon.fleet();
            !fleet["removalsRefused"].is_null() && fleet["revision"].as_str() == newest.as_deref()
        };
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
