//! What a seed decides: rounds of pushes, faults and kills. Not the timing, which is the machine's.

use std::collections::BTreeSet;
use std::time::Duration;

use super::acts::{Act, Aim, Break, Fate, GitFault, KillPoint, Kind, Meddling, Push, Round, Weather};
use super::dice::Dice;
use super::tree::{AMPLE, Breakage, Fleet, NAMES, Settings, StoreFile, Tree};

/// More stores than this at once only cost time.
const MOST_STORES: usize = 6;

/// How many kills a round of `make chaos` has.
pub const KILLS_A_ROUND: usize = 8;

/// Pushes whose budgets, approvals and protection are meant.
const REFUSALS: [&str; 5] = [
    "more removals than allowed",
    "approved by name",
    "all files but one are back",
    "protect stores",
    "protected stores go",
];

/// What somebody else does to which object.
const MEDDLINGS: [(Meddling, &str, &str); 8] = [
    (Meddling::Delete, "Deployment", "medusa"),
    (Meddling::Delete, "Service", "medusa"),
    (Meddling::Delete, "Ingress", "store"),
    (Meddling::Delete, "ConfigMap", "medusa"),
    (Meddling::Change, "Deployment", "medusa"),
    (Meddling::Change, "Service", "medusa"),
    (Meddling::Change, "Namespace", ""),
    (Meddling::Freeze, "ConfigMap", "medusa"),
];

/// What a random commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    Edits,
    Revert,
    ForceBack,
    Foreign,
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
        breakages: Vec::new(),
        weathers: Vec::new(),
        git_faults: Vec::new(),
        breaks: Vec::new(),
        meddlings: Vec::new(),
    };
    let mut first = planner.first();
    first.acts.extend(planner.healed());
    let mut rounds = vec![first];
    let mut deck = Vec::new();
    while planner.kills > 0 {
        use Kind::{Approved, Exodus, Forgiven, Protected, Storm};
        let kinds = [Approved, Forgiven, Protected, Exodus, Storm, Storm, Storm];
        let kind = planner.dice.deal(&mut deck, &kinds);
        let mut round = match kind {
            Kind::Storm => planner.storm(),
            Kind::Exodus => planner.exodus(),
            Kind::Approved | Kind::Forgiven => planner.over_budget(kind),
            Kind::Protected => planner.protected(),
        };
        round.acts.extend(planner.healed());
        rounds.push(round);
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
    breakages: Vec<Breakage>,
    weathers: Vec<Weather>,
    git_faults: Vec<GitFault>,
    breaks: Vec<Break>,
    meddlings: Vec<(Meddling, &'static str, &'static str)>,
}

impl Planner {
    /// The first stores.
    fn first(&mut self) -> Round {
        let (approved, grace) = (BTreeSet::new(), 0);
        self.tree.fleet = Some(Fleet { budget: AMPLE, percent: 100, approved, grace, broken: false });
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
        let mut victims: BTreeSet<_> = self.tree.good_names().into_iter().take(3).collect();
        self.tree.stores.retain(|name, _| !victims.contains(name));
        // Of ten stores, two: also by percent one may go, and three may not.
        let (most, percent) = *self.dice.pick(&[(1, 100), (AMPLE, 20)]);
        self.limit(most, percent, BTreeSet::new());
        let removal = Push { refused: victims.clone(), ..self.push("more removals than allowed") };
        let refused = self.round(kind, vec![removal]).acts;
        acts.extend(refused);
        acts.push(Act::UntilRefused);
        if kind == Kind::Approved {
            self.limit(most, percent, victims);
            acts.push(Act::Push(self.push("approved by name")));
        } else {
            let last = victims.pop_last();
            let back = before.stores.iter().filter(|(name, _)| victims.contains(*name));
            self.tree.stores.extend(back.map(|(name, file)| (*name, file.clone())));
            let refused = last.into_iter().collect();
            let some = Push { refused, ..self.push("all files but one are back") };
            acts.extend([Act::Push(some), Act::UntilRefused]);
            self.tree = before;
            acts.push(Act::Push(self.push("the files are back")));
        }
        Round { kind, acts }
    }

    /// Removals of protected stores, approved in vain, and how that ends.
    fn protected(&mut self) -> Round {
        while self.tree.good_names().len() < 4 {
            self.add();
        }
        let victims: BTreeSet<_> = self.tree.good_names().into_iter().take(2).collect();
        self.tree.protect(|name| victims.contains(name));
        let mut acts = vec![Act::Push(self.push("protect stores")), Act::UntilEqual];
        let mut before = self.tree.clone();
        self.tree.stores.retain(|name, _| !victims.contains(name));
        self.limit(AMPLE, 100, victims.clone());
        let removal = Push { refused: victims.clone(), ..self.push("protected stores go") };
        acts.extend(self.round(Kind::Protected, vec![removal]).acts);
        acts.push(Act::UntilRefused);
        before.protect(|_| false);
        self.tree = before;
        acts.extend([Act::Push(self.push("the files are back without protection")), Act::UntilEqual]);
        self.tree.stores.retain(|name, _| !victims.contains(name));
        acts.push(Act::Push(self.push("they go")));
        Round { kind: Kind::Protected, acts }
    }

    fn ample(&mut self) {
        self.limit(AMPLE, 100, BTreeSet::new());
    }

    fn limit(&mut self, budget: usize, percent: usize, approved: BTreeSet<&'static str>) {
        // Short enough to end in a round, long enough for a kill or a file's return.
        let grace = if self.dice.percent(40) { self.dice.within(1, 4) } else { 0 };
        self.tree.fleet = Some(Fleet { budget, percent, approved, grace, broken: false });
    }

    /// One random commit, with one to three changes.
    fn anything(&mut self) -> Push {
        use Commit::{BreakFleet, Edits, Empty, ForceBack, Foreign, Revert};
        let commits =
            [Edits, Edits, Edits, Edits, Edits, Edits, Revert, ForceBack, Foreign, BreakFleet, Empty];
        match self.dice.deal(&mut self.commits, &commits) {
            Revert => self.revert(),
            ForceBack => self.force_back(),
            BreakFleet => self.break_fleet(),
            Empty => self.empty(),
            Edits | Foreign if !self.tree.is_usable() => self.mend_fleet(),
            Edits => self.edits(),
            Foreign => {
                let edits = self.edits();
                Push { title: format!("{}, in a foreign history", edits.title), foreign: true, ..edits }
            }
        }
    }

    fn edits(&mut self) -> Push {
        let edits: Vec<_> = (0..self.dice.within(1, 4)).map(|_| self.edit()).collect();
        self.ample();
        self.push(&edits.join(", "))
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
                let breakage = self.dice.deal(&mut self.breakages, &Breakage::ALL);
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

    /// A force-push to a commit of some pushes ago, but for those of rounds about refusals.
    fn force_back(&mut self) -> Push {
        let all = self.pushed.iter().enumerate();
        let fit: Vec<_> = all.filter(|(_, tree)| tree.is_ordinary()).map(|(number, _)| number).collect();
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
        self.ample();
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
        // Whatever a revert brings back: only the rounds about refusals have these, and only until they end.
        if !REFUSALS.contains(&title) {
            if let Some(fleet) = &mut self.tree.fleet {
                (fleet.budget, fleet.percent, fleet.approved) = (AMPLE, 100, BTreeSet::new());
            }
            self.tree.protect(|_| false);
        }
        self.as_pushed(title)
    }

    fn as_pushed(&mut self, title: &str) -> Push {
        self.pushed.push(self.tree.clone());
        let (title, tree) = (title.to_owned(), self.tree.clone());
        Push { title, tree, back_to: None, foreign: false, refused: BTreeSet::new() }
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
                let how = [Break::End, Break::Gone, Break::Tear, Break::Silence];
                acts.push(Act::Interrupt(self.dice.deal(&mut self.breaks, &how)));
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
            let mut aim = self.aim(push.as_ref());
            let meddle = push.is_none().then(|| self.meddle());
            if let Some(Act::Meddle(Meddling::Freeze, ..)) = meddle {
                // In the middle of making an object anew.
                let fate = *self.dice.pick(&[Fate::Lost, Fate::Landed]);
                aim = KillPoint::At { aim: Aim::Delete, nth: 0, fate };
            }
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

    /// With the daemon up and at rest somebody meddles: that is healed without a restart.
    fn healed(&mut self) -> [Act; 4] {
        self.running = self.tree.clone();
        let pause = Act::Pause(milliseconds(self.dice.below(300)));
        [Act::UntilEqual, self.meddle(), pause, self.meddle()]
    }

    fn meddle(&mut self) -> Act {
        let names = self.running.good_names();
        let name = if names.is_empty() { NAMES[0] } else { self.dice.pick(&names) };
        let (how, kind, object) = self.dice.deal(&mut self.meddlings, &MEDDLINGS);
        Act::Meddle(how, name, kind, object)
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
        let fates: &[_] = match aim {
            Aim::Delete => &[Fate::Landed, Fate::Lost],
            _ => &[Fate::Landed, Fate::Landed, Fate::Lost, Fate::Late],
        };
        let fate = *self.dice.pick(fates);
        KillPoint::At { aim, nth, fate }
    }
}

fn milliseconds(count: usize) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
