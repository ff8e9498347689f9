//! The ways from the pages to a real forge, in a real browser: its editors open on the right file, and what they commit is what
//! the page showed.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/browser.rs"]
mod browser;
#[path = "common/mod.rs"]
mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;
#[path = "common/showroom.rs"]
mod showroom;

use std::fs;
use std::sync::Arc;

use browser::{Driver, run, until};
use common::repository::git;
use common::required_path;
use fantoccini::{Client, Locator};
use gitea::{Account, Gitea, Project};
use showroom::{NOW, Showroom};
use storekeeper::report::StoreReport;
use storekeeper::web::{ForgePages, Links, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const ACME: &str = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: acme\n";

/// A repository with one store, on a forge with its own pages, and our pages beside it.
struct Scene {
    gitea: Arc<Gitea>,
    project: Project,
    person: Account,
    runtime: Runtime,
    address: String,
    _driver: Driver,
    browser: Client,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let (pages, folder) = (required_path("STOREKEEPER_GITEA_PAGES"), TempDir::new().unwrap());
        let gitea = Gitea::start_with("", Some(&pages));
        let person = gitea.account("ada");
        let checkout = folder.path().join("checkout");
        fs::create_dir_all(checkout.join("stores")).unwrap();
        git(&checkout, &["init", "--quiet", "--initial-branch=main"]);
        fs::write(checkout.join("stores/acme.yaml"), ACME).unwrap();
        git(&checkout, &["add", "--all"]);
        git(&checkout, &["commit", "--quiet", "--message", "first"]);
        let project = gitea.project(&person, "stores", &checkout);
        let repository = project.url().trim_end_matches(".git").to_owned();
        let mut showroom = Showroom::new();
        showroom.board.update(|picture| {
            picture.stores = [StoreReport::new("acme".parse().unwrap(), NOW)].into_iter().collect();
        });
        showroom.links = Some(Links { forge: ForgePages::Gitea, repository, branch: "main".to_owned() });
        let runtime = Runtime::new().unwrap();
        let driver = Driver::start(&required_path("STOREKEEPER_CHROMEDRIVER"));
        let (address, browser) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = format!("http://{}/", listener.local_addr().unwrap());
            let door = showroom.door();
            tokio::spawn(serve(listener, door.guard(showroom.router()), door, std::future::pending()));
            (address, driver.open(&["--ignore-certificate-errors"]).await)
        });
        let scene =
            Self { gitea, project, person, runtime, address, _driver: driver, browser, _folder: folder };
        scene.log_in();
        scene
    }

    /// Logs in as somebody does who comes to the forge.
    fn log_in(&self) {
        let browser = &self.browser;
        self.runtime.block_on(async {
            browser.goto(&self.gitea.url("/user/login")).await.unwrap();
            for (field, text) in [("user_name", &self.person.name), ("password", &self.person.password)] {
                browser.find(Locator::Id(field)).await.unwrap().send_keys(text).await.unwrap();
            }
            browser.find(Locator::Css("form button.primary")).await.unwrap().click().await.unwrap();
            until(browser, "somebody is logged in", "return !location.pathname.includes('login')").await;
        });
    }

    /// Follows the link of a page that is chosen by CSS, and waits until the forge shows what it says.
    async fn follow(&self, page: &str, link: &str) {
        self.browser.goto(&format!("{}{page}", self.address)).await.unwrap();
        self.browser.find(Locator::Css(link)).await.unwrap().click().await.unwrap();
        until(&self.browser, "the forge", "return location.protocol === 'https:'").await;
    }

    /// Commits what the forge's editor shows to the branch that it was opened on.
    async fn commit(&self) {
        let browser = &self.browser;
        until(browser, "something to commit", "return !document.getElementById('commit-button').disabled")
            .await;
        browser.find(Locator::Id("commit-button")).await.unwrap().click().await.unwrap();
        until(browser, "the commit", "return location.pathname.includes('/src/branch/main')").await;
    }

    /// Returns a file of the watched branch as the server has it now.
    fn file(&self, path: &str) -> Option<String> {
        git(&self.project.checkout, &["fetch", "--quiet", "origin", "main"]);
        let listed = git(&self.project.checkout, &["ls-tree", "--name-only", "FETCH_HEAD", "--", path]);
        (!listed.is_empty())
            .then(|| format!("{}\n", git(&self.project.checkout, &["show", &format!("FETCH_HEAD:{path}")])))
    }
}

const EDITOR: &str = "return document.querySelector('.cm-content')?.innerText";

#[test]
fn a_new_store_goes_from_the_form_through_the_forges_editor_into_the_branch() {
    let scene = Scene::new();
    let browser = &scene.browser;
    let shown = scene.runtime.block_on(async {
        browser.goto(&format!("{}new", scene.address)).await.unwrap();
        for (field, text) in [("name", "emma"), ("displayName", "Emma: \"Co\" & <b>")] {
            browser.find(Locator::Id(field)).await.unwrap().send_keys(text).await.unwrap();
        }
        until(browser, "the link", "return document.getElementById('file').textContent.includes('<b>')")
            .await;
        let shown = run(browser, "return document.getElementById('file').textContent").await;
        let left = run(browser, "return document.getElementById('left').textContent").await;
        let name = left.as_str().unwrap().strip_prefix("The forge asks for the file's name: ").unwrap();
        browser.find(Locator::Id("create")).await.unwrap().click().await.unwrap();
        until(browser, "the text is filled in", &format!("{EDITOR}?.includes('emma')")).await;
        browser.find(Locator::Id("file-name")).await.unwrap().send_keys(name).await.unwrap();
        scene.commit().await;
        shown.as_str().unwrap().to_owned()
    });
    assert_eq!(scene.file("stores/emma.yaml"), Some(shown));
}

#[test]
fn a_store_is_edited_and_deleted_in_the_forges_editors() {
    let scene = Scene::new();
    let browser = &scene.browser;
    scene.runtime.block_on(async {
        scene.follow("stores/acme", "a[href*='/_edit/']").await;
        let text = until(browser, "the file's text", EDITOR).await;
        assert!(text.as_str().unwrap().contains("name: acme"), "{text}");
        let editor = browser.find(Locator::Css(".cm-content")).await.unwrap();
        editor.send_keys("# edited\u{e007}").await.unwrap();
        scene.commit().await;
    });
    assert!(scene.file("stores/acme.yaml").unwrap().contains("# edited\n"), "the edit is in the branch");
    scene.runtime.block_on(async {
        scene.follow("stores/acme", "a[href*='/_delete/']").await;
        scene.commit().await;
    });
    assert_eq!(scene.file("stores/acme.yaml"), None);
}
