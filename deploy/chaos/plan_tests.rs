//! What a plan has to hold, whatever the seed.

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
        for kind in [Kind::Storm, Kind::Exodus, Kind::Approved, Kind::Forgiven, Kind::Protected] {
            assert!(rounds.iter().any(|round| round.kind == kind), "seed {seed} has no round of {kind:?}");
        }
    }
    let text = format!("{:?}", rounds(1, 100, KILLS_A_ROUND));
    let edits = ["add", "change", "remove", "rename"].map(|edit| format!("{edit} a store"));
    let others = ["break a file", "mend a file", "revert", "force-push back", "break the fleet file"];
    let weathers = ["Mixed", "Busy", "Failing", "Torn", "Halves", "Slow"];
    let gits = ["Refused", "Failing", "Html", "CutPack", "Slow"];
    let faults =
        weathers.map(|it| format!("Weather({it})")).into_iter().chain(gits.map(|it| format!("Git({it})")));
    let acts = ["in a foreign history", "Interrupt(Silence)", "fate: Late", "percent: 20", "Meddle(Change"];
    let acts = acts.into_iter().chain(["Meddle(Delete", "Meddle(Freeze"]).map(str::to_owned);
    let breakages = Breakage::ALL.map(|breakage| format!("Broken({breakage:?})"));
    for part in edits.into_iter().chain(others.map(str::to_owned)).chain(faults).chain(acts).chain(breakages)
    {
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

#[test]
fn every_round_ends_with_meddling_that_no_kill_follows() {
    for seed in 1..50 {
        for round in rounds(seed, 100, KILLS_A_ROUND) {
            let calm = round.acts.iter().rposition(|act| *act == Act::UntilEqual);
            let rest = &round.acts[calm.unwrap() + 1..];
            assert!(!rest.iter().any(|act| matches!(act, Act::Kill(..))), "seed {seed}: {rest:?}");
            assert_eq!(rest.iter().filter(|act| matches!(act, Act::Meddle(..))).count(), 2, "seed {seed}");
        }
    }
}

#[test]
fn protection_and_small_budgets_stay_in_their_rounds() {
    for seed in 1..50 {
        for round in rounds(seed, 100, KILLS_A_ROUND) {
            let last = pushes(std::slice::from_ref(&round)).last().map(|push| push.tree.clone()).unwrap();
            let is_meant = round.kind == Kind::Approved;
            assert!(is_meant || last.is_ordinary(), "seed {seed}: {:?}", round.kind);
        }
    }
}
