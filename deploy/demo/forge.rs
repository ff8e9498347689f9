//! A forge beside the demo's cluster: a real Gitea with the example repository in it, a user to log in as, and a webhook.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use openssl::ssl::{SslConnector, SslMethod};

use crate::common::repository::git;
use crate::gitea::{Account, DAEMON_SCOPES, Gitea, Project, secret};
use crate::{GUEST, guest};

/// The user that storekeeper is on the forge.
pub const MACHINE: &str = "storekeeper";

/// The check that a merge into `main` requires.
pub const REQUIRED: &str = "storekeeper/all";

/// What a demo with a forge has besides.
pub struct Forge {
    pub project: Project,
    /// Where a browser goes, such as `http://127.0.0.1:3000`.
    page: String,
    /// What the daemon is told, its repository aside.
    pub arguments: Vec<String>,
}

impl Forge {
    /// Starts Gitea, puts what is checked out into it, and has it tell the daemon at an address about pushes.
    pub fn start(pages: &Path, checkout: &Path, folder: &Path, daemon: &str) -> Self {
        let door = Door::bind();
        // Links are for browsers; git and the daemon go by https to the server itself.
        let configuration = format!(
            "APP_NAME = The demo's forge\n[server]\nROOT_URL = {}/\nPUBLIC_URL_DETECTION = never\n\
             [ui]\nDEFAULT_THEME = gitea-light\n[service]\nDISABLE_REGISTRATION = true\n",
            door.page
        );
        let gitea = Gitea::start_with(&configuration, Some(pages));
        let person = gitea.account("demo");
        let machine = gitea.account(MACHINE);
        let project = gitea.project(&person, "stores", checkout);
        git(checkout, &["branch", "--quiet", "--set-upstream-to=origin/main"]);
        project.admit(&machine);
        project.protect(&[REQUIRED]);
        let hook_secret = secret();
        project.hook(&format!("http://{daemon}/hooks/gitea"), &hook_secret, &["push", "pull_request"]);
        let token = gitea.token(&machine, &DAEMON_SCOPES);
        let arguments = arguments(&gitea, &project, folder, daemon, &token, &hook_secret);
        let page = door.page.clone();
        door.open(&gitea);
        Self { project, page, arguments }
    }

    /// Tells how stores come and go by pull requests.
    pub fn show(&self) {
        let Account { name, password, .. } = &self.project.owner;
        let repository = format!("{}/{}", self.page, self.project.full_name());
        println!("\nThe forge: {repository}\nLog in there as {name}, password {password}\n");
        println!("In a browser, logged in:");
        println!("\n  # add a store: {repository}/_new/main/stores");
        println!("  name the file {GUEST}.yaml and paste:\n");
        for line in guest("Dahlia").lines() {
            println!("    {line}");
        }
        println!(
            "\n  Below it choose \"Create a new branch\", propose the change, and create the pull request. Within a second\n  \
             or two it has the status storekeeper/plan and a comment that says what would happen. Merge it: the commit on\n  \
             main gets a status for each store that it changes, pending until the shop is READY, and {REQUIRED}. The branch\n  \
             is protected: what {REQUIRED} does not agree with can't be merged. Try a field that does not exist."
        );
        println!("\n  # change or remove it: {repository}/src/branch/main/stores/{GUEST}.yaml");
        println!("  the pencil or the bin, a new branch again, a pull request, the plan, the merge.\n");
        println!(
            "Gitea is real and shows its own pages. Only the way there is the demo's: browsers come by http, git and\n\
             storekeeper by https with a certificate that the demo made."
        );
    }
}

fn arguments(
    gitea: &Gitea,
    project: &Project,
    folder: &Path,
    daemon: &str,
    token: &str,
    hook_secret: &str,
) -> Vec<String> {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        text_of(path)
    };
    let (token, ca) = (file("forge-token", token), text_of(gitea.ca_file()));
    [
        // What is seen soon, the webhook told.
        ("--poll-seconds", "3600".to_owned()),
        ("--git-token-file", token.clone()),
        ("--git-ca-file", ca.clone()),
        ("--forge", "gitea".to_owned()),
        ("--forge-api", gitea.url("/api/v1")),
        ("--forge-repository", project.full_name()),
        ("--forge-token-file", token),
        ("--forge-ca-file", ca),
        ("--hook-secret-file", file("hook-secret", hook_secret)),
        ("--public-url", format!("http://{daemon}")),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn text_of(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

/// Lets browsers in by http, as none of them trusts the authority of the server's certificate.
struct Door {
    listener: TcpListener,
    page: String,
}

impl Door {
    /// Takes the port that people expect, or another.
    fn bind() -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:3000").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let page = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, page }
    }

    /// Passes requests on from now on, each on a connection of its own.
    fn open(self, gitea: &Gitea) {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_ca_file(gitea.ca_file()).unwrap();
        let connector = connector.build();
        let server: Arc<str> = gitea.url("").trim_start_matches("https://").into();
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let (connector, server) = (connector.clone(), Arc::clone(&server));
                // A browser goes away whenever it likes.
                thread::spawn(move || pass(&stream, &connector, &server));
            }
        });
    }
}

fn pass(mut browser: &TcpStream, connector: &SslConnector, server: &str) -> Option<()> {
    let mut reader = BufReader::new(browser);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().trim_end() {
            "" => break,
            // The answer then ends with the connection, however long it is.
            "connection" => continue,
            "content-length" => length = value.trim().parse().ok()?,
            "transfer-encoding" => {
                browser.write_all(b"HTTP/1.1 411 Length Required\r\nConnection: close\r\n\r\n").ok()?;
                return None;
            }
            _ => {}
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut server = connector.connect("127.0.0.1", TcpStream::connect(server).ok()?).ok()?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    std::io::copy(&mut server, &mut browser).ok()?;
    Some(())
}
