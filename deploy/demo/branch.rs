//! A branch that nobody has pushed, and what `storekeeper plan` says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use crate::common::daemon::binary;
use crate::common::repository::git;
use crate::{Demo, GUEST, SOURCE, guest, seconds};

/// The branch, and its folder beside the checkout of `main`.
const BRANCH: &str = "proposal";

/// The store of the example that the branch changes, and the one that it removes.
const CHANGED: &str = "acme";
const REMOVED: &str = "chocolate";

impl Demo {
    /// Shows, as for a pull request, what the branch would do: a store comes, one changes, one goes.
    pub(crate) fn show_branch(&self, folder: &Path) {
        let proposal = self.make_branch();
        println!(
            "\nOn the branch `{BRANCH}` in {}, {GUEST} comes, {CHANGED} gets another name and {REMOVED} goes.",
            folder.join(BRANCH).display(),
        );
        println!("Nobody has pushed it. What would it do?\n");
        println!("  {}\n", self.plan_command(&folder.join(BRANCH)));
        let status = self.plan(&proposal).status().unwrap();
        assert_eq!(status.code(), Some(1), "the plan of the branch");
    }

    /// Plans the branch and holds the plan against what the branch changes; returns a line.
    pub(crate) fn check_branch(&self) -> String {
        let proposal = self.make_branch();
        let begun = Instant::now();
        let Output { status, stdout, stderr } = self.plan(&proposal).output().unwrap();
        let took = begun.elapsed();
        let text = String::from_utf8(stdout).unwrap();
        println!("{text}");
        assert_eq!(status.code(), Some(1), "{}", String::from_utf8_lossy(&stderr));
        for line in [
            format!("+ store {GUEST} "),
            "+ StatefulSet/postgres".to_owned(),
            format!("~ store {CHANGED} "),
            "~ Deployment/storefront".to_owned(),
            "Acme & Daughters".to_owned(),
            format!("- store {REMOVED}: namespace store-{REMOVED}"),
            "volume    data-postgres-0".to_owned(),
            "1 to add, 1 to change, 1 to remove, 0 removals refused, 0 wrong".to_owned(),
        ] {
            assert!(text.contains(&line), "the plan of the branch does not say {line:?}");
        }
        let still = self.stores.iter().all(|name| self.daemon.store(name).is_some());
        assert!(still && self.daemon.store(GUEST).is_none(), "a plan changed the fleet");
        format!("a branch planned in {}", seconds(took))
    }

    /// Returns the folder of the branch.
    fn make_branch(&self) -> PathBuf {
        let checkout = &self.repository.checkout;
        let folder = checkout.with_file_name(BRANCH);
        git(checkout, &["worktree", "add", "--quiet", "-b", BRANCH, folder.to_str().unwrap()]);
        let file = |store: &str| folder.join(format!("stores/{store}.yaml"));
        fs::write(file(GUEST), guest("Dahlia")).unwrap();
        let text = fs::read_to_string(file(CHANGED)).unwrap();
        let spec = "spec:\n  displayName: Acme & Daughters\n";
        assert!(!text.contains("spec:"), "the example's {CHANGED} has a spec now");
        fs::write(file(CHANGED), text + spec).unwrap();
        fs::remove_file(file(REMOVED)).unwrap();
        git(&folder, &["add", "--all"]);
        git(&folder, &["commit", "--quiet", "--message", "one comes, one changes, one goes"]);
        folder
    }

    fn plan(&self, folder: &Path) -> Command {
        let mut plan = Command::new(binary());
        plan.arg("plan").arg(folder).args(["--source", SOURCE]);
        plan.arg("--kubeconfig").arg(&self.cluster.kubeconfig);
        plan
    }

    fn plan_command(&self, folder: &Path) -> String {
        let (binary, kubeconfig) = (binary(), &self.cluster.kubeconfig);
        format!(
            "{} plan {} --source {SOURCE} --kubeconfig {}",
            binary.display(),
            folder.display(),
            kubeconfig.display()
        )
    }
}
