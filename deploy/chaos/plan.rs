//! What a seed decides: rounds of pushes, faults and kills. Not the timing, which is the machine's.

use std::collections::BTreeSet;
use std::time::Duration;

use super::dice::Dice;
use super::tree::{AMPLE, Breakage, Fleet, NAMES, Settings, StoreFile, Tree};

/// More stores than this at once only cost time.
const MOST_STORES: usize = 6;

/// How many kills a round of `make chaos` has.
pub const KILLS_A_ROUND: usize = 8;

/// One round: acts, after which faults stop and the cluster has to become equal to git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    pub kind: Kind,
    pub acts: Vec<Act>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bit of everything.
    Storm,
    /// Most stores get another name, or go.
    Exodus,
    /// More stores go than the budget allows: nothing may be deleted. Then they are approved by name.
    Approved,
    /// The same, but their files come back.
    Forgiven,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Push(Push),
    Weather(Weather),
    Git(GitFault),
    Interrupt(Break),
    /// Somebody else deletes an object of a store: kind and name.
    Meddle(&'static str, &'static str, &'static str),
    /// The daemon is killed; how long it stays away.
    Kill(KillPoint, Duration),
    Pause(Duration),
    /// Faults stop until the cluster is equal to git.
    UntilEqual,
    /// Faults stop until the daemon says that it refuses removals.
    UntilRefused,
}

/// One push: all files of the branch afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What it changes.
    pub title: String,
    pub tree: Tree,
    /// Force the branch back to what an earlier push put there, by its number.
    pub back_to: Option<usize>,
    /// Stores without a file that the budget protects in this commit.
    pub refused: BTreeSet<&'static str>,
}

/// What the API proxy does to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// A little of everything.
    Mixed,
    /// 429 with Retry-After.
    Busy,
    /// 500 and 409.
    Failing,
    /// Connections end before or after the act.
    Torn,
    /// Bodies end half-way, lists and watches are gone.
    Halves,
    /// Everything takes its time, some of it for ever.
    Slow,
}

/// What the git remote does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitFault {
    Well,
    /// Connections end at once.
    Refused,
    Failing,
    /// A web page with 200.
    Html,
    CutPack,
    Slow,
}

/// What happens to open watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    End,
    Gone,
    Tear,
}

/// When the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// So long after the last act.
    After(Duration),
    /// At a call of this life of the daemon: before it is sent on, or when it has taken effect and is not answered yet.
    At { aim: Aim, nth: usize, landed: bool },
}

/// Which calls a kill aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    Write,
    NewNamespace,
    Inventory,
    Secret,
    Job,
    Delete,
}

/// What a random commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Edits,
    Revert,
    ForceBack,
    BreakFleet,
    Empty,
}

/// What an edit does to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Add,
    Change,
    Remove,
    Rename,
    Break,
}

/// Makes the rounds of a seed with so many kills.
pub fn rounds(seed: u64, kills: usize, kills_a_round: usize) -> Vec<Round> {
    let dice = Dice::new(seed);
    let mut planner = Planner {
        dice,
        tree: Tree::default(),
        pushed: Vec::new(),
        running: Tree::default(),
        kills,
        kills_a_round,
        commits: Vec::new(),
        edits: Vec::new(),
        weathers: Vec::new(),
        git_faults: Vec::new(),
    };
    let mut rounds = vec![planner.first()];
    let mut deck = Vec::new();
    while planner.kills > 0 {
        let kinds = [Kind::Approved, Kind::Forgiven, Kind::Exodus, Kind::Storm, Kind::Storm, Kind::Storm];
        let kind = planner.dice.deal(&mut deck, &kinds);
        rounds.push(match kind {
            Kind::Storm => planner.storm(),
            Kind::Exodus => planner.exodus(),
            Kind::Approved | Kind::Forgiven => planner.over_budget(kind),
        });
    }
    rounds
}

struct Planner {
    dice: Dice,
    /// What is pushed last.
    tree: Tree,
    pushed: Vec<Tree>,
    /// What the acts so far have pushed last.
    running: Tree,
    /// Kills still to come.
    kills: usize,
    kills_a_round: usize,
    /// What is left of the decks that are dealt from, so that nothing stays out for long.
    commits: Vec<Commit>,
    edits: Vec<Edit>,
    weathers: Vec<Weather>,
    git_faults: Vec<GitFault>,
}

impl Planner {
    /// The first stores.
    fn first(&mut self) -> Round {
        self.tree.fleet = Some(Fleet { budget: AMPLE, approved: BTreeSet::new(), grace: 0, broken: false });
        for name in &NAMES[..4] {
            self.tree.stores.insert(name, StoreFile::Good(Settings::draw(&mut self.dice)));
        }
        let pushes = vec![self.push("the first stores")];
        self.round(Kind::Storm, pushes)
    }

    fn storm(&mut self) -> Round {
        let count = self.dice.within(5, 9);
        let mut pushes = Vec::new();
        for _ in 0..count {
            pushes.push(self.anything());
            // A change that is taken back in its middle is the hardest one to notice.
            if self.tree.is_usable() && self.dice.percent(25) {
                pushes.push(self.revert());
            }
        }
        pushes.extend(self.usable_end());
        self.round(Kind::Storm, pushes)
    }

    /// Renames and removals of most stores at once, then something new.
    fn exodus(&mut self) -> Round {
        for name in self.tree.good_names() {
            match self.dice.below(3) {
                0 => self.rename(name),
                1 => {
                    self.tree.stores.remove(name);
                }
                _ => {}
            }
        }
        let mut pushes = vec![self.push("most stores move or go")];
        for _ in 0..self.dice.below(3) {
            pushes.push(self.anything());
        }
        pushes.extend(self.usable_end());
        while self.tree.good_names().len() < 3 {
            self.add();
        }
        pushes.push(self.push("new stores"));
        self.round(Kind::Exodus, pushes)
    }

    /// Removals that a small budget refuses, and how that ends.
    fn over_budget(&mut self, kind: Kind) -> Round {
        while self.tree.good_names().len() < 4 {
            self.add();
        }
        // They must be there before they can be missed.
        let mut acts = vec![Act::Push(self.push("as many stores as that takes")), Act::UntilEqual];
        let before = self.tree.clone();
        let victims: BTreeSet<_> = self.tree.good_names().into_iter().take(3).collect();
        self.tree.stores.retain(|name, _| !victims.contains(name));
        self.set_budget(1, BTreeSet::new());
        let removal = Push { refused: victims.clone(), ..self.push("more removals than allowed") };
        let refused = self.round(kind, vec![removal]).acts;
        acts.extend(refused);
        acts.push(Act::UntilRefused);
        if kind == Kind::Approved {
            self.set_budget(1, victims);
            acts.push(Act::Push(self.push("approved by name")));
        } else {
            self.tree = before;
            acts.push(Act::Push(self.push("the files are back")));
        }
        Round { kind, acts }
    }

    fn set_budget(&mut self, budget: usize, approved: BTreeSet<&'static str>) {
        // Short enough to end in a round, long enough for a kill or a file's return.
        let grace = if self.dice.percent(40) { self.dice.within(1, 4) } else { 0 };
        self.tree.fleet = Some(Fleet { budget, approved, grace, broken: false });
    }

    /// One random commit, with one to three changes.
    fn anything(&mut self) -> Push {
        use Commit::{BreakFleet, Edits, Empty, ForceBack, Revert};
        let commits = [Edits, Edits, Edits, Edits, Edits, Edits, Revert, ForceBack, BreakFleet, Empty];
        match self.dice.deal(&mut self.commits, &commits) {
            Revert => self.revert(),
            ForceBack => self.force_back(),
            BreakFleet => self.break_fleet(),
            Empty => self.empty(),
            Edits if !self.tree.is_usable() => self.mend_fleet(),
            Edits => {
                let edits: Vec<_> = (0..self.dice.within(1, 4)).map(|_| self.edit()).collect();
                self.set_budget(AMPLE, BTreeSet::new());
                self.push(&edits.join(", "))
            }
        }
    }

    fn edit(&mut self) -> &'static str {
        use Edit::{Add, Break, Change, Remove, Rename};
        let names: Vec<_> = self.tree.stores.keys().copied().collect();
        let edit = self
            .dice
            .deal(&mut self.edits, &[Add, Add, Change, Change, Change, Change, Remove, Rename, Break, Break]);
        if names.is_empty() || (edit == Add && names.len() < MOST_STORES) {
            self.add();
            return "add a store";
        }
        let name = *self.dice.pick(&names);
        let Some(settings) = self.tree.good(name).cloned() else {
            self.tree.stores.insert(name, StoreFile::Good(Settings::draw(&mut self.dice)));
            return "mend a file";
        };
        match edit {
            Remove => {
                self.tree.stores.remove(name);
                "remove a store"
            }
            Rename => {
                self.rename(name);
                "rename a store"
            }
            Break => {
                let breakage = *self.dice.pick(&Breakage::ALL);
                self.tree.stores.insert(name, StoreFile::Broken(breakage));
                "break a file"
            }
            Add | Change => {
                let changed = settings.changed(&mut self.dice);
                self.tree.stores.insert(name, StoreFile::Good(changed));
                "change a store"
            }
        }
    }

    fn add(&mut self) {
        let settings = Settings::draw(&mut self.dice);
        if let Some(name) = self.free_name() {
            self.tree.stores.insert(name, StoreFile::Good(settings));
        }
    }

    /// The store of the new name is another, empty one; a host of its own moves with the file.
    fn rename(&mut self, name: &'static str) {
        if let Some(other) = self.free_name()
            && let Some(file) = self.tree.stores.remove(name)
        {
            self.tree.stores.insert(other, file);
        }
    }

    fn free_name(&mut self) -> Option<&'static str> {
        let free: Vec<_> = NAMES.iter().copied().filter(|name| self.tree.lacks(name)).collect();
        (!free.is_empty()).then(|| *self.dice.pick(&free))
    }

    /// A new commit that takes the last one back.
    fn revert(&mut self) -> Push {
        let before = self.pushed.iter().rev().nth(1).cloned();
        self.tree = before.unwrap_or_else(|| self.tree.clone());
        self.push("revert")
    }

    /// A force-push to a commit of some pushes ago, but for those whose budget is small.
    fn force_back(&mut self) -> Push {
        let ample = |tree: &Tree| tree.fleet.as_ref().is_none_or(|fleet| fleet.budget == AMPLE);
        let all = self.pushed.iter().enumerate();
        let fit: Vec<_> = all.filter(|(_, tree)| ample(tree)).map(|(number, _)| number).collect();
        let to = *self.dice.pick(&fit[fit.len().saturating_sub(6)..]);
        self.tree = self.pushed[to].clone();
        Push { back_to: Some(to), ..self.as_pushed("force-push back") }
    }

    fn break_fleet(&mut self) -> Push {
        match &mut self.tree.fleet {
            Some(fleet) if self.dice.percent(70) => fleet.broken = true,
            fleet => *fleet = None,
        }
        self.push("break the fleet file")
    }

    /// All files go, the fleet file too.
    fn empty(&mut self) -> Push {
        self.tree = Tree::default();
        self.push("empty the branch")
    }

    fn mend_fleet(&mut self) -> Push {
        self.set_budget(AMPLE, BTreeSet::new());
        if self.tree.stores.is_empty() {
            // The branch was emptied: it is as it was before.
            let whole = self.pushed.iter().rev().find(|tree| tree.is_usable()).cloned();
            self.tree.stores = whole.unwrap_or_default().stores;
        }
        self.push("mend the fleet file")
    }

    /// A last push when the branch could not be followed otherwise.
    fn usable_end(&mut self) -> Option<Push> {
        (!self.tree.is_usable()).then(|| self.mend_fleet())
    }

    fn push(&mut self, title: &str) -> Push {
        // Whatever a revert brings back: only the rounds about budgets have small ones, and only until they end.
        if let Some(fleet) = &mut self.tree.fleet
            && !["more removals than allowed", "approved by name"].contains(&title)
        {
            (fleet.budget, fleet.approved) = (AMPLE, BTreeSet::new());
        }
        self.as_pushed(title)
    }

    fn as_pushed(&mut self, title: &str) -> Push {
        self.pushed.push(self.tree.clone());
        Push { title: title.to_owned(), tree: self.tree.clone(), back_to: None, refused: BTreeSet::new() }
    }

    /// Mixes pushes, in their order, with kills and faults.
    fn round(&mut self, kind: Kind, pushes: Vec<Push>) -> Round {
        let mut kills = self.kills_a_round.min(self.kills);
        self.kills -= kills;
        let (mut acts, mut pushes) = (Vec::new(), pushes.into_iter().peekable());
        let mut git = GitFault::Well;
        while pushes.len() > 0 || kills > 0 {
            if self.dice.percent(40) {
                acts.push(Act::Weather(self.weather()));
            }
            let next = if self.dice.percent(25) { self.git_fault() } else { GitFault::Well };
            if next != std::mem::replace(&mut git, next) {
                acts.push(Act::Git(next));
            }
            if self.dice.percent(30) {
                acts.push(Act::Interrupt(*self.dice.pick(&[Break::End, Break::Gone, Break::Tear])));
            }
            if kills == 0 || (pushes.len() > 0 && self.dice.below(pushes.len() + kills) < pushes.len()) {
                if let Some(push) = pushes.next() {
                    self.running = push.tree.clone();
                    acts.push(Act::Push(push));
                }
                // Some pushes are overtaken by the next, others are carried out.
                let longest = if self.dice.percent(50) { 400 } else { 4000 };
                acts.push(Act::Pause(milliseconds(self.dice.below(longest))));
                continue;
            }
            kills -= 1;
            let timed = self.dice.percent(30);
            if timed {
                let after = milliseconds(self.dice.within(50, 4000));
                acts.push(Act::Kill(KillPoint::After(after), Duration::ZERO));
                continue;
            }
            // An aim is met only while there is something to do.
            let push = pushes.next_if(|_| self.dice.percent(75));
            let aim = self.aim(push.as_ref());
            let meddle = push.is_none().then(|| self.meddle());
            acts.extend(push.map(Act::Push).or(meddle));
            let away = if self.dice.percent(30) { self.dice.below(800) } else { 0 };
            acts.push(Act::Kill(aim, milliseconds(away)));
            if let Some(push) = pushes.next_if(|push| push.title == "revert") {
                self.running = push.tree.clone();
                acts.push(Act::Push(push));
            }
        }
        Round { kind, acts }
    }

    fn meddle(&mut self) -> Act {
        let objects =
            [("Deployment", "medusa"), ("Service", "medusa"), ("Ingress", "store"), ("ConfigMap", "medusa")];
        let names: Vec<_> = self.tree.stores.keys().copied().collect();
        let (kind, object) = *self.dice.pick(&objects);
        let name = if names.is_empty() { NAMES[0] } else { self.dice.pick(&names) };
        Act::Meddle(name, kind, object)
    }

    fn weather(&mut self) -> Weather {
        use Weather::{Busy, Calm, Failing, Halves, Mixed, Slow, Torn};
        self.dice.deal(&mut self.weathers, &[Calm, Mixed, Mixed, Mixed, Busy, Failing, Torn, Halves, Slow])
    }

    fn git_fault(&mut self) -> GitFault {
        use GitFault::{CutPack, Failing, Html, Refused, Slow, Well};
        self.dice.deal(&mut self.git_faults, &[Well, Well, Well, Refused, Failing, Html, CutPack, Slow])
    }

    /// Aims at a call that what is pushed calls for; without a push at the healing of an object.
    fn aim(&mut self, push: Option<&Push>) -> KillPoint {
        let mut aims = vec![Aim::Write, Aim::Write];
        let mut most = 1;
        if let Some(Push { tree, .. }) = push {
            let before = std::mem::replace(&mut self.running, tree.clone());
            aims.push(Aim::Inventory);
            most = 10;
            if tree.good_names().iter().any(|name| before.lacks(name)) {
                aims.extend([Aim::NewNamespace, Aim::Secret, Aim::Job]);
            }
            if before.stores.keys().any(|name| tree.lacks(name)) {
                aims.push(Aim::Delete);
            }
        }
        let aim = *self.dice.pick(&aims);
        let nth = if aim == Aim::Write { self.dice.below(most) } else { usize::from(self.dice.percent(20)) };
        KillPoint::At { aim, nth, landed: self.dice.percent(60) }
    }
}

fn milliseconds(count: usize) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(rounds: &[Round]) -> usize {
        let acts = rounds.iter().flat_map(|round| &round.acts);
        acts.filter(|act| matches!(act, Act::Kill(..))).count()
    }

    fn pushes(rounds: &[Round]) -> Vec<&Push> {
        let acts = rounds.iter().flat_map(|round| &round.acts);
        acts.filter_map(|act| if let Act::Push(push) = act { Some(push) } else { None }).collect()
    }

    #[test]
    fn the_seed_decides_the_plan() {
        assert_eq!(rounds(7, 40, 8), rounds(7, 40, 8));
        assert_ne!(rounds(7, 40, 8), rounds(8, 40, 8));
        assert_eq!(kills(&rounds(7, 40, 8)), 40);
    }

    #[test]
    fn a_hundred_kills_come_with_every_kind_of_round_commit_and_fault() {
        for seed in 1..20 {
            let rounds = rounds(seed, 100, KILLS_A_ROUND);
            for kind in [Kind::Storm, Kind::Exodus, Kind::Approved, Kind::Forgiven] {
                assert!(
                    rounds.iter().any(|round| round.kind == kind),
                    "seed {seed} has no round of {kind:?}"
                );
            }
        }
        let text = format!("{:?}", rounds(1, 100, KILLS_A_ROUND));
        let edits = ["add", "change", "remove", "rename"].map(|edit| format!("{edit} a store"));
        let others = ["break a file", "mend a file", "revert", "force-push back", "break the fleet file"];
        let weathers = ["Mixed", "Busy", "Failing", "Torn", "Halves", "Slow"];
        let gits = ["Refused", "Failing", "Html", "CutPack", "Slow"];
        let faults = weathers
            .map(|it| format!("Weather({it})"))
            .into_iter()
            .chain(gits.map(|it| format!("Git({it})")));
        for part in edits.into_iter().chain(others.map(str::to_owned)).chain(faults) {
            assert!(text.contains(&part), "seed 1 has no `{part}`");
        }
    }

    #[test]
    fn every_round_ends_with_a_branch_that_can_be_followed() {
        for seed in 1..50 {
            for round in rounds(seed, 100, KILLS_A_ROUND) {
                let last = pushes(std::slice::from_ref(&round)).last().map(|push| push.tree.is_usable());
                assert_eq!(last, Some(true), "seed {seed}: {round:?}");
            }
        }
    }

    #[test]
    fn a_force_push_puts_back_what_an_earlier_push_put_there() {
        for seed in 1..50 {
            let rounds = rounds(seed, 100, KILLS_A_ROUND);
            let pushes = pushes(&rounds);
            for push in &pushes {
                assert!(push.back_to.is_none_or(|to| pushes[to].tree == push.tree), "seed {seed}");
            }
        }
    }
}
