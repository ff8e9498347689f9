//! What a branch's commits come to: whether the newest one may be put in force.

use super::{Distrust, Doubt, Keys, Problem, Signer, Times, commit, openpgp, printable, ssh};

/// How an X.509 signature begins, as `gitsign` and `gpgsm` make them.
const X509: &str = "-----BEGIN SIGNED MESSAGE-----";

/// Which commits must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyRange {
    /// The one that the branch is at.
    Tip,
    /// Every one since the last good one, those that were merged too.
    All,
}

/// What is asked of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whether signatures are looked at.
    pub verifies: bool,
    /// Which commits must be signed.
    pub range: VerifyRange,
    /// Who alone may make the branch's commits, when set: a principal or a key's fingerprint.
    pub forge: Option<String>,
    /// Whether the branch may only go on from the last good commit.
    pub fast_forward_only: bool,
}

/// A commit as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCommit {
    /// Its id.
    pub id: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it is the branch's own: the newest one, its first parent, and so on.
    pub is_first_parent: bool,
}

/// The branch's newest commit and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestry {
    /// The newest commit.
    pub tip: RawCommit,
    /// The last good commit, if there is one.
    pub good: Option<String>,
    /// The commits since the last good one, oldest first, the newest one included; none when there is no last good
    /// one, or there are more than anyone would push.
    pub since: Option<Vec<RawCommit>>,
    /// Whether the last good commit is among the ancestors of the newest, or is it.
    pub follows: bool,
}

/// What the commits come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Who signed the newest commit (none: nobody was asked), or why it is not believed.
    pub verdict: Result<Option<Signer>, Distrust>,
    /// That fewer commits were looked at than should be, and why.
    pub note: Option<&'static str>,
}

/// Judges whether the newest commit may be put in force. `acknowledged` is a commit that an operator has taken note
/// of: it need not follow from the last good one.
pub fn judge(
    ancestry: &Ancestry,
    policy: &Policy,
    keys: &Keys,
    acknowledged: Option<&str>,
    now: i64,
) -> Judgement {
    let Policy { verifies, range, forge, fast_forward_only } = policy;
    let tip = &ancestry.tip;
    if *fast_forward_only && !ancestry.follows && acknowledged != Some(tip.id.as_str()) {
        return Judgement { verdict: Err(rewritten(ancestry)), note: None };
    }
    if !verifies {
        return Judgement { verdict: Ok(None), note: None };
    }
    let needs_all = *range == VerifyRange::All || forge.is_some();
    let note = match (&ancestry.since, &ancestry.good) {
        (None, None) if needs_all => {
            Some("there is no last good commit yet, so only the newest one is checked")
        }
        (None, Some(_)) if needs_all => {
            let words = "more commits than can be checked came since the last good one";
            return Judgement { verdict: Err(too_many(tip, words)), note: None };
        }
        _ => None,
    };
    for commit in ancestry.since.iter().flatten().filter(|commit| commit.id != tip.id) {
        let asked = *range == VerifyRange::All || (forge.is_some() && commit.is_first_parent);
        if let Some(Err(distrust)) = asked.then(|| believe(commit, ancestry, policy, keys, now)) {
            return Judgement { verdict: Err(distrust), note };
        }
    }
    Judgement { verdict: believe(tip, ancestry, policy, keys, now).map(Some), note }
}

/// Checks one commit.
fn believe(
    commit: &RawCommit,
    ancestry: &Ancestry,
    policy: &Policy,
    keys: &Keys,
    now: i64,
) -> Result<Signer, Distrust> {
    // What was believed when it came stays so when its key runs out; not when its key turns out to be stolen.
    let is_good = ancestry.good.as_ref() == Some(&commit.id);
    let signer = signer(&commit.bytes, keys, Times { now, was_believed: is_good });
    let signer = signer.map_err(|doubt| distrust(commit, ancestry, policy, &doubt))?;
    match &policy.forge {
        Some(forge) if commit.is_first_parent && !is_by(&signer, forge) => {
            let words = format!("is signed by {signer}, not by the forge ({})", printable(forge));
            Err(distrust(commit, ancestry, policy, &Doubt::new(Problem::NotAMerge, words)))
        }
        _ => Ok(signer),
    }
}

/// Finds who signed a commit.
pub(super) fn signer(bytes: &[u8], keys: &Keys, times: Times) -> Result<Signer, Doubt> {
    let commit = commit::read(bytes)?;
    let Some(signature) = &commit.signature else {
        return Err(Doubt::new(Problem::Unsigned, "is not signed"));
    };
    let text = signature.trim_start();
    let begins = |label: &str| text.strip_prefix("-----BEGIN ").is_some_and(|rest| rest.starts_with(label));
    if begins(ssh::LABEL) {
        let signers = keys
            .signers
            .as_ref()
            .ok_or_else(|| unknown_kind("an SSH signature, and there are no allowed signers"))?;
        ssh::verify(text, &commit.payload, signers, commit.committed, times)
    } else if begins(openpgp::LABEL) {
        let keys = keys
            .openpgp
            .as_ref()
            .ok_or_else(|| unknown_kind("an OpenPGP signature, and no OpenPGP keys are known"))?;
        openpgp::verify(text, openpgp::Signed::Commit(&commit.payload), keys, times)
    } else if text.starts_with(X509) {
        Err(unknown_kind("an X.509 signature, which is not supported"))
    } else {
        Err(unknown_kind("a signature of an unknown kind"))
    }
}

fn unknown_kind(what: &str) -> Doubt {
    Doubt::new(Problem::Unknown, format!("carries {what}"))
}

/// Tells whether a signer is who is meant by a principal or a fingerprint.
fn is_by(signer: &Signer, who: &str) -> bool {
    let plain = |text: &str| text.replace([' ', ':'], "").to_ascii_uppercase();
    let address = signer.principal.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    let mut principals = signer.principal.split(',');
    principals.any(|principal| principal == who)
        || signer.principal == who
        || address == Some(who)
        || signer.key == who
        || (signer.kind == super::Kind::OpenPgp && plain(&signer.key) == plain(who))
}

fn distrust(commit: &RawCommit, ancestry: &Ancestry, policy: &Policy, doubt: &Doubt) -> Distrust {
    let Doubt { problem, words } = doubt;
    let advice = match problem {
        Problem::NotAMerge => "merge it by a pull request",
        _ if commit.id != ancestry.tip.id || policy.range == VerifyRange::All => {
            "push a history in which every commit is signed by somebody who is believed"
        }
        _ => "push a commit on top of it that is signed by somebody who is believed",
    };
    let words = format!("commit {} is not believed: it {words}; {advice}", short(&commit.id));
    Distrust { commit: commit.id.clone(), problem: *problem, words }
}

fn rewritten(ancestry: &Ancestry) -> Distrust {
    let (tip, good) = (&ancestry.tip.id, ancestry.good.as_deref().unwrap_or_default());
    let words = format!(
        "commit {} is not believed: history was rewritten, it does not follow from {}; push a commit that does, or run \
         `storekeeper acknowledge {tip}`",
        short(tip),
        short(good)
    );
    Distrust { commit: tip.clone(), problem: Problem::Rewritten, words }
}

/// Cuts an id as short as people can still look it up: a commit's status has room for little more than a line.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn too_many(tip: &RawCommit, what: &str) -> Distrust {
    let words =
        format!("commit {} is not believed: {what}; start once with --verify-range tip", short(&tip.id));
    Distrust { commit: tip.id.clone(), problem: Problem::Invalid, words }
}
