//! What a round is made of: pushes, faults, kills and what other people do.

use std::collections::BTreeSet;
use std::time::Duration;

use super::tree::Tree;

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
    /// The same, but their files come back: some first, after which the rest would fit into the budget.
    Forgiven,
    /// Protected stores go: nothing may be deleted until their files were there without the protection.
    Protected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Push(Push),
    Weather(Weather),
    Git(GitFault),
    Interrupt(Break),
    /// Somebody else does this to an object of a store: the store's name, the object's kind and name.
    Meddle(Meddling, &'static str, &'static str, &'static str),
    /// The daemon is killed; how long it stays away.
    Kill(KillPoint, Duration),
    Pause(Duration),
    /// Faults stop until the cluster is equal to git.
    UntilEqual,
    /// Faults stop until the daemon says that it refuses removals.
    UntilRefused,
}

/// What somebody else does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    Delete,
    /// Changes a field that git sets.
    Change,
    /// Changes a `ConfigMap` and makes it immutable: it has to be made anew.
    Freeze,
}

/// One push: all files of the branch afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What it changes.
    pub title: String,
    pub tree: Tree,
    /// Force the branch back to what an earlier push put there, by its number.
    pub back_to: Option<usize>,
    /// Force the branch to a history that shares nothing with the one before.
    pub foreign: bool,
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
    /// They stay open and say nothing any more.
    Silence,
}

/// When the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillPoint {
    /// So long after the last act.
    After(Duration),
    /// At a call of this life of the daemon.
    At { aim: Aim, nth: usize, fate: Fate },
}

/// What becomes of the call at which the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is never sent on.
    Lost,
    /// It has taken effect and is not answered yet.
    Landed,
    /// It takes effect when the next daemon is at work. No deletion: nobody could take it back.
    Late,
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
