//! Which pull request brought a commit, as forges write it into the messages of their commits. Pure.

/// Finds the number of the pull request that a commit's message names as GitHub, Gitea, GitLab and Bitbucket write it, for
/// merges and for squashed commits. None for messages of people, unless they end their first line as a forge does.
pub fn pull_request_in(message: &str) -> Option<u64> {
    let message = message.trim();
    let subject = message.lines().next()?.trim_end();
    merged(subject).or_else(|| squashed(subject)).or_else(|| merged_by_gitlab(message))
}

/// `Merge pull request #12 from owner/branch`, Gitea's `Merge pull request 'a title' (#12) from branch into main`, and
/// Bitbucket's `Merged in branch (pull request #12)` and `Pull request #12: a title`.
fn merged(subject: &str) -> Option<u64> {
    if let Some(rest) = subject.strip_prefix("Merge pull request ").or(subject.strip_prefix("Pull request "))
    {
        if let Some(number) = rest.strip_prefix('#') {
            return leading_number(number);
        }
        // The title is the writer's, so what stands last counts.
        let (_, number) = rest.rsplit_once("' (#")?;
        return leading_number(number);
    }
    let rest = subject.strip_prefix("Merged in ")?.strip_suffix(')')?;
    rest.rsplit_once(" (pull request #")?.1.parse().ok()
}

/// `a title (#12)`.
fn squashed(subject: &str) -> Option<u64> {
    let (_, number) = subject.strip_suffix(')')?.rsplit_once(" (#")?;
    number.parse().ok()
}

/// `See merge request group/name!12`, in a line of its own. The last one counts: what stands above is the writer's.
fn merged_by_gitlab(message: &str) -> Option<u64> {
    let lines = message.lines().skip(1);
    let last = lines.filter_map(|line| line.trim().strip_prefix("See merge request ")).last()?;
    let (_, number) = last.rsplit_once('!')?;
    number.parse().ok()
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::pull_request_in;

    #[test]
    fn each_forge_names_its_pull_request_in_its_own_way() {
        for (message, expected) in [
            ("Merge pull request #12 from ann/new-store\n\nAdd acme", Some(12)),
            ("Merge pull request 'Add acme' (#13) from new-store into main\n\nReviewed-on: x", Some(13)),
            ("Merge pull request 'it's (#1) from' (#14) from b into main", Some(14)),
            ("Add acme (#15)", Some(15)),
            ("Add acme (#15) (#16)\n\n* one\n* two (#3)", Some(16)),
            (
                "Merge branch 'new-store' into 'main'\n\nAdd acme\n\nSee merge request shop/stores!17\n",
                Some(17),
            ),
            ("Add acme\n\nSee merge request a/b!1\n\nSee merge request shop/stores!18", Some(18)),
            ("Merged in new-store (pull request #19)\n\nAdd acme", Some(19)),
            ("Pull request #20: Add acme", Some(20)),
            ("Merge pull request #21 in SHOP/stores from new-store to main", Some(21)),
        ] {
            assert_eq!(pull_request_in(message), expected, "{message}");
        }
    }

    #[test]
    fn what_people_write_names_none() {
        for message in [
            "",
            "\n\n",
            "Add acme",
            "Fix #12",
            "Add acme (#x)",
            "Add acme (#99999999999999999999999)",
            "Merge branch 'a'",
            "See merge request a/b!1",
            "Merge pull request 'x' from b",
            "Merge pull request #",
            "Merged in new-store (pull request #)",
            "Add acme\n\nCloses (#12)",
        ] {
            assert_eq!(pull_request_in(message), None, "{message}");
        }
    }
}
