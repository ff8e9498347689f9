//! Whose commits are believed: real signatures by real git, `ssh-keygen` and `gpg`, good and bad ones, judged as git
//! itself does wherever git has an opinion.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{Id, PKey};
use openssl::sha::{sha256, sha512};
use pgp::composed::{Deserializable, SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, PacketTrait, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};
use storekeeper::git::Mirror;
use storekeeper::trust::{
    AllowedSigners, Certificates, Distrust, Keys, Policy, Problem, Signer, VerifyRange, judge,
};

#[path = "common/git_origin.rs"]
mod git_origin;
#[path = "common/git_sshd.rs"]
#[allow(dead_code, reason = "keys are made as for a server")]
mod git_sshd;
use git_origin::{Origin, git, git_with_input};
use git_sshd::make_key;

const DAY: i64 = 86_400;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A repository, the keys that are believed in it, and a mirror that follows it.
struct Scene {
    origin: Origin,
    mirror: Mirror,
    gnupg: Gnupg,
    allowed: PathBuf,
}

/// Somebody who signs, as settings of git.
type Person = Vec<String>;

impl Scene {
    fn new() -> Self {
        let origin = Origin::with_a_store();
        let (mirror, allowed) = (origin.mirror(), origin.folder.path().join("allowed_signers"));
        fs::write(&allowed, "# nobody\n").unwrap();
        let gnupg = Gnupg::new(&origin.folder.path().join("gpg"));
        Self { origin, mirror, gnupg, allowed }
    }

    fn ssh_key(&self, name: &str, kind: &str) -> (Person, String) {
        let path = make_key(&self.origin.folder.path().join(name), kind, "");
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        let public = public.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned();
        (by_ssh(&path), public)
    }

    fn by_gpg(&self, fingerprint: &str) -> Person {
        ["gpg.format=openpgp", &format!("user.signingkey={fingerprint}!")]
            .into_iter()
            .map(str::to_owned)
            .chain([format!("gpg.program={}", self.gnupg.program.display())])
            .collect()
    }

    fn allow(&self, lines: &str) {
        fs::write(&self.allowed, lines).unwrap();
    }

    /// Pushes a commit, signed by somebody or nobody. Returns it.
    fn push(&self, person: Option<&Person>) -> String {
        self.push_at(person, now())
    }

    fn push_at(&self, person: Option<&Person>, time: i64) -> String {
        self.commit_at(person, time);
        git(&self.origin.work, &["push", "-q", "--force", "origin", "HEAD:main"]);
        git(&self.origin.work, &["rev-parse", "HEAD"])
    }

    fn commit_at(&self, person: Option<&Person>, time: i64) {
        let settings = person.into_iter().flatten().flat_map(|setting| ["-c", setting.as_str()]);
        let sign = if person.is_some() { "-S" } else { "--no-gpg-sign" };
        let last = ["commit", "-q", "--allow-empty", "-m", "change", sign];
        let arguments: Vec<_> = settings.chain(last).collect();
        run(Command::new("git").current_dir(&self.origin.work).args(arguments).envs(environment(time)));
    }

    /// Makes a commit out of raw bytes and pushes it.
    fn push_raw(&self, bytes: &[u8]) -> String {
        let arguments = ["hash-object", "-t", "commit", "-w", "--stdin", "--literally"];
        let commit = git_with_input(&self.origin.work, &arguments, bytes);
        git(&self.origin.work, &["push", "-q", "--force", "origin", &format!("{commit}:refs/heads/main")]);
        commit
    }

    fn raw(&self, commit: &str) -> String {
        let mut text = git(&self.origin.work, &["cat-file", "commit", commit]);
        text.push('\n');
        text
    }

    fn keys(&self) -> Keys {
        let signers = AllowedSigners::parse(&fs::read_to_string(&self.allowed).unwrap()).unwrap();
        let exported = self.gnupg.export();
        let openpgp = (!exported.is_empty()).then(|| Certificates::parse(&exported).unwrap());
        Keys { signers: Some(signers), openpgp }
    }

    fn judge(
        &self,
        policy: &Policy,
        acknowledged: Option<&str>,
        keys: &Keys,
    ) -> Result<Option<Signer>, Distrust> {
        let tip = self.mirror.fetch().unwrap().commit;
        let ancestry = self.mirror.ancestry(&tip, true).unwrap();
        judge(&ancestry, policy, keys, acknowledged, now()).verdict
    }

    /// Who signed the newest commit, or what is wrong with it; the same as git says, where it is asked.
    fn tip(&self) -> Result<Signer, Distrust> {
        self.judge(&policy(VerifyRange::Tip), None, &self.keys()).map(Option::unwrap)
    }

    fn git_believes(&self) -> bool {
        let commit = git(&self.origin.bare, &["rev-parse", "main"]);
        let allowed = format!("gpg.ssh.allowedSignersFile={}", self.allowed.display());
        let program = format!("gpg.program={}", self.gnupg.program.display());
        let verified = Command::new("git")
            .current_dir(&self.origin.work)
            .args(["-c", &allowed, "-c", &program, "verify-commit", &commit])
            .envs(environment(now()))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        verified.success()
    }

    fn is_believed(&self, principal: &str) {
        let signer = self.tip().unwrap_or_else(|distrust| panic!("{}", distrust.words));
        assert_eq!(signer.principal, principal);
        assert!(self.git_believes(), "git does not believe it");
    }

    /// Returns the words.
    fn is_distrusted(&self, problem: Problem) -> String {
        let words = self.is_distrusted_here(problem);
        assert!(!self.git_believes(), "git believes it, here it is said: {words}");
        words
    }

    /// Where git believes more than is believed here, or has no opinion.
    fn is_distrusted_here(&self, problem: Problem) -> String {
        let distrust = self.tip().expect_err("believed");
        assert_eq!(distrust.problem, problem, "{}", distrust.words);
        assert!(distrust.words.contains(&distrust.commit[..12]), "{}", distrust.words);
        distrust.words
    }
}

fn policy(range: VerifyRange) -> Policy {
    Policy { verifies: true, range, forge: None, fast_forward_only: false }
}

fn by_ssh(key: &Path) -> Person {
    vec!["gpg.format=ssh".to_owned(), format!("user.signingkey={}", key.display())]
}

fn environment(time: i64) -> Vec<(&'static str, String)> {
    let mut environment: Vec<_> = [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "Ada"),
        ("GIT_AUTHOR_EMAIL", "ada@example.com"),
        ("GIT_COMMITTER_NAME", "Ada"),
        ("GIT_COMMITTER_EMAIL", "ada@example.com"),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    environment.push(("GIT_COMMITTER_DATE", format!("@{time} +0000")));
    environment
}

/// Runs a program and returns what it printed.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {error}");
    output.stdout
}

/// A home of `gpg` with keys of its own.
struct Gnupg {
    home: PathBuf,
    /// `gpg` with that home, at whatever time the file beside it says.
    program: PathBuf,
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "all"]).status();
    }
}

impl Gnupg {
    fn new(home: &Path) -> Self {
        fs::create_dir(home).unwrap();
        fs::set_permissions(home, fs::Permissions::from_mode(0o700)).unwrap();
        let program = home.join("gpg-at-home");
        let script = format!(
            "#!/bin/sh\nexec gpg --homedir '{0}' --batch --no-tty --quiet --pinentry-mode loopback --passphrase '' \
             $(cat '{0}/options' 2>/dev/null) \"$@\"\n",
            home.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Self { home: home.to_owned(), program }
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        run(Command::new(&self.program).args(arguments))
    }

    /// Runs `gpg` with answers to its questions.
    fn answer(&self, arguments: &[&str], answers: &str) -> Vec<u8> {
        use std::io::Write;
        let mut child = Command::new("gpg")
            .arg("--homedir")
            .arg(&self.home)
            .args(["--no-tty", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(["--command-fd", "0", "--status-fd", "2"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg must be installed (Debian package gnupg)");
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Whatever `gpg` does from now on happens at this time; none: now.
    fn set(&self, time: Option<i64>, options: &str) {
        let faked = time.map(|time| format!("--faked-system-time {time} "));
        fs::write(self.home.join("options"), format!("{}{options}", faked.unwrap_or_default())).unwrap();
    }

    /// Makes a key and returns its fingerprint.
    fn key(&self, user: &str, algorithm: &str, usage: &str, expires: &str) -> String {
        self.run(&["--quick-gen-key", user, algorithm, usage, expires]);
        self.fingerprints(user).remove(0)
    }

    /// Adds a subkey that signs and returns its fingerprint.
    fn subkey(&self, primary: &str, algorithm: &str, expires: &str) -> String {
        self.run(&["--quick-add-key", primary, algorithm, "sign", expires]);
        self.fingerprints(primary).pop().unwrap()
    }

    fn fingerprints(&self, who: &str) -> Vec<String> {
        let listed = String::from_utf8(self.run(&["--with-colons", "--list-keys", who])).unwrap();
        let lines = listed.lines().filter(|line| line.starts_with("fpr:"));
        lines.map(|line| line.split(':').nth(9).unwrap().to_owned()).collect()
    }

    fn export(&self) -> Vec<u8> {
        self.run(&["--export"])
    }

    /// Imports the revocation that `gpg` prepared when it made a key.
    fn revoke(&self, fingerprint: &str) {
        let path = self.home.join(format!("openpgp-revocs.d/{fingerprint}.rev"));
        let text = fs::read_to_string(&path).unwrap().replace(":-----BEGIN", "-----BEGIN");
        fs::write(&path, text).unwrap();
        self.run(&["--import", path.to_str().unwrap()]);
    }
}

#[test]
fn ssh_keys_of_every_kind_are_believed_and_named() {
    let scene = Scene::new();
    let mut lines = String::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let (person, public) = scene.ssh_key(kind, kind);
        lines = format!("{lines}{kind}@example.com,root namespaces=\"git\" {public} comment\n");
        scene.allow(&lines);
        scene.push(Some(&person));
        scene.is_believed(&format!("{kind}@example.com,root"));
        let signer = scene.tip().unwrap();
        let key = scene.origin.folder.path().join(format!("{kind}.pub"));
        let printed = String::from_utf8(run(Command::new("ssh-keygen").arg("-lf").arg(key))).unwrap();
        assert!(printed.contains(&signer.key), "{printed} has not {}", signer.key);
    }
}

#[test]
fn a_security_key_is_believed() {
    let scene = Scene::new();
    let key = PKey::generate_ed25519().unwrap();
    let text = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let public = key.raw_public_key().unwrap();
    assert_eq!(key.id(), Id::ED25519);
    let kind = "sk-ssh-ed25519@openssh.com";
    let blob = [text(kind.as_bytes()), text(&public), text(b"ssh:")].concat();
    scene.allow(&format!("ada {kind} {}\n", STANDARD.encode(&blob)));
    scene.push(None);
    let payload = scene.raw("HEAD");
    let hash = sha512(payload.as_bytes());
    let message = [&b"SSHSIG"[..], &text(b"git"), &text(b""), &text(b"sha512"), &text(&hash)].concat();
    let trailer = [1, 0, 0, 0, 9];
    let signed = [&sha256(b"ssh:")[..], &trailer, &sha256(&message)].concat();
    let signature =
        openssl::sign::Signer::new_without_digest(&key).unwrap().sign_oneshot_to_vec(&signed).unwrap();
    let signature = [text(kind.as_bytes()), text(&signature), trailer.to_vec()].concat();
    let sealed = [
        &b"SSHSIG"[..],
        &1_u32.to_be_bytes(),
        &text(&blob),
        &text(b"git"),
        &text(b""),
        &text(b"sha512"),
        &text(&signature),
    ];
    let armored = STANDARD.encode(sealed.concat());
    let lines: Vec<_> = armored.as_bytes().chunks(70).map(|line| String::from_utf8_lossy(line)).collect();
    let header = format!(
        "gpgsig -----BEGIN SSH SIGNATURE-----\n {}\n -----END SSH SIGNATURE-----\n",
        lines.join("\n ")
    );
    scene.push_raw(payload.replacen("\n\n", &format!("\n{header}\n"), 1).as_bytes());
    scene.is_believed("ada");
}

#[test]
fn a_commit_without_a_signature_or_by_a_stranger_is_not_believed() {
    let scene = Scene::new();
    let (ada, public) = scene.ssh_key("ada", "ed25519");
    let (eve, _) = scene.ssh_key("eve", "ed25519");
    scene.allow(&format!("ada {public}\n"));
    scene.push(None);
    let words = scene.is_distrusted(Problem::Unsigned);
    assert!(
        words.ends_with("push a commit on top of it that is signed by somebody who is believed"),
        "{words}"
    );
    scene.push(Some(&eve));
    let words = scene.is_distrusted(Problem::Unknown);
    assert!(words.contains("is signed by SSH key SHA256:"), "{words}");
    scene.push(Some(&ada));
    scene.is_believed("ada");
}

#[test]
fn an_ssh_key_counts_only_in_its_time() {
    let scene = Scene::new();
    let (ada, public) = scene.ssh_key("ada", "ed25519");
    let line = |options: &str| scene.allow(&format!("ada {options} {public}\n"));
    scene.push(Some(&ada));
    line("valid-before=\"20200101\"");
    assert!(scene.is_distrusted(Problem::Expired).contains("was valid until 2020-01-01T00:00:00Z"));
    line("valid-after=\"29990101\"");
    scene.is_distrusted(Problem::Expired);
    line("valid-after=\"20200101Z\",valid-before=\"29990101Z\"");
    scene.is_believed("ada");
    // Git takes the commit's word for when it was made. Whoever has an expired key can write any date.
    scene.push_at(Some(&ada), 1_577_750_400);
    line("valid-before=\"20200101Z\"");
    assert!(scene.git_believes());
    scene.is_distrusted_here(Problem::Expired);
    // What was believed when it came stays so.
    let commit = git(&scene.origin.bare, &["rev-parse", "main"]);
    scene.mirror.mark_good(&commit).unwrap();
    scene.is_believed("ada");
}

#[test]
fn a_signature_for_something_else_proves_nothing() {
    let scene = Scene::new();
    let (ada, public) = scene.ssh_key("ada", "ed25519");
    scene.allow(&format!("ada namespaces=\"file\" {public}\n"));
    scene.push(Some(&ada));
    assert!(scene.is_distrusted(Problem::Unknown).contains("its namespaces leave out `git`"));

    scene.allow(&format!("ada {public}\n"));
    scene.is_believed("ada");
    scene.push(None);
    let payload = scene.raw("HEAD");
    let file = scene.origin.folder.path().join("payload");
    fs::write(&file, &payload).unwrap();
    let key = scene.origin.folder.path().join("ada");
    run(Command::new("ssh-keygen").args(["-Y", "sign", "-n", "file", "-f"]).arg(key).arg(&file));
    let signature = fs::read_to_string(file.with_extension("sig")).unwrap();
    let header = format!("gpgsig {}\n", signature.trim().replace('\n', "\n "));
    scene.push_raw(payload.replacen("\n\n", &format!("\n{header}\n"), 1).as_bytes());
    assert!(scene.is_distrusted(Problem::Invalid).contains("made for `file`, not for git"));
}

#[test]
fn a_commit_that_was_changed_and_a_signature_of_another_one_are_not_believed() {
    let scene = Scene::new();
    let (ada, public) = scene.ssh_key("ada", "ed25519");
    let fingerprint = scene.gnupg.key("Ada <ada@example.com>", "ed25519", "sign", "never");
    scene.allow(&format!("ada {public}\n"));
    for person in [ada, scene.by_gpg(&fingerprint)] {
        let one = scene.push(Some(&person));
        scene.tip().unwrap();
        let signed = scene.raw(&one);
        scene.push_raw(signed.replace("change", "chance").as_bytes());
        let words = scene.is_distrusted(Problem::Invalid);
        assert!(words.contains("carries a signature that is not over this commit"), "{words}");
        scene.push_raw(signed.replace("author Ada", "author Eve").as_bytes());
        scene.is_distrusted(Problem::Invalid);

        scene.push(Some(&person));
        let other = scene.raw("HEAD");
        let start = |text: &str| text.find("gpgsig ").unwrap();
        let end = |text: &str| text.find("\n\n").unwrap();
        let swapped =
            [&signed[..start(&signed)], &other[start(&other)..end(&other)], &signed[end(&signed)..]];
        scene.push_raw(swapped.concat().as_bytes());
        scene.is_distrusted(Problem::Invalid);

        // Two headers, and two signatures in one header.
        let header = &signed[start(&signed)..=end(&signed)];
        scene.push_raw(signed.replacen("\n\n", &format!("\n{header}\n"), 1).as_bytes());
        let words = scene.is_distrusted_here(Problem::Invalid);
        assert!(words.contains("carries more than one signature"), "{words}");
        let more = header.trim_end().replacen("gpgsig ", " ", 1);
        scene.push_raw(signed.replacen("\n\n", &format!("\n{more}\n\n"), 1).as_bytes());
        let words = scene.is_distrusted_here(Problem::Invalid);
        assert!(words.contains("carries more than one signature"), "{words}");
    }
}

#[test]
fn a_certificate_counts_for_its_authority_principals_and_time() {
    let scene = Scene::new();
    let folder = scene.origin.folder.path().to_owned();
    let (_, authority) = scene.ssh_key("authority", "ed25519");
    let (other, _) = scene.ssh_key("other", "ed25519");
    let certify = |name: &str, arguments: &[&str]| {
        let key = make_key(&folder.join(name), "ed25519", "");
        let public = key.with_extension("pub");
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-s"])
            .arg(folder.join("authority"))
            .args(["-I", name])
            .args(arguments)
            .arg(&public);
        run(command.env("TZ", "UTC"));
        let certificate = folder.join(format!("{name}-cert.pub"));
        // ssh-keygen signs with the key beside the certificate.
        fs::copy(&key, folder.join(format!("{name}-cert"))).unwrap();
        vec!["gpg.format=ssh".to_owned(), format!("user.signingkey={}", certificate.display())]
    };
    scene.allow(&format!("*@example.com,!eve@example.com cert-authority {authority}\n"));
    scene.push(Some(&certify("good", &["-n", "bob,ada@example.com", "-V", "-1d:+1d"])));
    scene.is_believed("ada@example.com");
    // Git takes the last two; what it would take them for can't be kept here.
    for (name, arguments, problem, git_believes) in [
        ("expired", &["-n", "ada@example.com", "-V", "20200101:20200102"][..], Problem::Expired, false),
        ("early", &["-n", "ada@example.com", "-V", "+1d:+2d"], Problem::Expired, false),
        ("stranger", &["-n", "eve@example.com,root", "-V", "-1d:+1d"], Problem::Unknown, false),
        ("nobody", &["-V", "-1d:+1d"], Problem::Unknown, false),
        ("host", &["-h", "-n", "ada@example.com", "-V", "-1d:+1d"], Problem::Invalid, false),
        ("forever", &["-n", "ada@example.com"], Problem::Invalid, true),
        (
            "forced",
            &["-n", "ada@example.com", "-O", "force-command=x", "-V", "-1d:+1d"],
            Problem::Invalid,
            true,
        ),
    ] {
        scene.push(Some(&certify(name, arguments)));
        scene.is_distrusted_here(problem);
        assert_eq!(scene.git_believes(), git_believes, "{name}");
    }
    // The authority's own key signs certificates only, and another's certificates count nothing.
    scene.push(Some(&by_ssh(&folder.join("authority"))));
    scene.is_distrusted(Problem::Unknown);
    let other_public = fs::read_to_string(folder.join("other.pub")).unwrap();
    scene.allow(&format!("*@example.com cert-authority {other_public}\n"));
    scene.push(Some(&certify("of-another", &["-n", "ada@example.com", "-V", "-1d:+1d"])));
    scene.is_distrusted(Problem::Unknown);
    drop(other);
}

#[test]
fn openpgp_keys_and_their_signing_subkeys_are_believed_and_strangers_are_not() {
    let scene = Scene::new();
    let ada = scene.gnupg.key("Ada <ada@example.com>", "ed25519", "sign", "never");
    scene.push(Some(&scene.by_gpg(&ada)));
    scene.is_believed("Ada <ada@example.com>");
    assert_eq!(scene.tip().unwrap().key, ada);
    for (user, algorithm, sub) in
        [("Bob <bob@example.com>", "rsa3072", "rsa3072"), ("Eve <eve@example.com>", "nistp256", "ed25519")]
    {
        let primary = scene.gnupg.key(user, algorithm, "cert", "never");
        let subkey = scene.gnupg.subkey(&primary, sub, "1y");
        scene.push(Some(&scene.by_gpg(&subkey)));
        scene.is_believed(user);
        assert_eq!(scene.tip().unwrap().key, subkey);
    }
    // As text and as several files after one another.
    let armored = scene.gnupg.run(&["--armor", "--export", "Ada"]);
    let both = [armored.clone(), scene.gnupg.run(&["--armor", "--export", "Eve"])].concat();
    let keys = |bytes: &[u8]| Keys { signers: None, openpgp: Some(Certificates::parse(bytes).unwrap()) };
    let tip = |keys: &Keys| scene.judge(&policy(VerifyRange::Tip), None, keys);
    assert!(tip(&keys(&both)).is_ok());
    let distrust = tip(&keys(&armored)).unwrap_err();
    assert_eq!(distrust.problem, Problem::Unknown, "{}", distrust.words);
    assert_eq!(tip(&Keys::default()).unwrap_err().problem, Problem::Unknown);
    let secret = scene.gnupg.run(&["--export-secret-keys", "Ada"]);
    assert!(Certificates::parse(&secret).unwrap_err().to_string().contains("a secret key"));
    for garbage in [&b""[..], b"x", b"\x99", &armored[..200]] {
        Certificates::parse(garbage).unwrap_err();
    }
}

#[test]
fn a_revoked_key_and_a_revoked_subkey_are_not_believed() {
    let scene = Scene::new();
    let ada = scene.gnupg.key("Ada <ada@example.com>", "ed25519", "sign", "never");
    scene.push(Some(&scene.by_gpg(&ada)));
    let before = scene.gnupg.export();
    scene.is_believed("Ada <ada@example.com>");
    scene.gnupg.revoke(&ada);
    let words = scene.is_distrusted(Problem::Revoked);
    assert!(words.contains("which was revoked on"), "{words}");
    // The revocation alone, appended to the key as it was, and a newer copy of the key behind the older one.
    let revocation = fs::read(scene.gnupg.home.join(format!("openpgp-revocs.d/{ada}.rev"))).unwrap();
    let text = String::from_utf8(revocation).unwrap();
    let revocation = &text[text.find("-----BEGIN").unwrap()..];
    let tip = |bytes: &[u8]| {
        let keys = Keys { signers: None, openpgp: Some(Certificates::parse(bytes).unwrap()) };
        scene.judge(&policy(VerifyRange::Tip), None, &keys).map_err(|distrust| distrust.problem)
    };
    let old = scene.origin.folder.path().join("old");
    fs::write(&old, &before).unwrap();
    let armored = run(Command::new("gpg").arg("--enarmor").args(["--output", "-"]).arg(&old));
    let armored = String::from_utf8(armored).unwrap().replace("PGP ARMORED FILE", "PGP PUBLIC KEY BLOCK");
    assert!(tip(armored.as_bytes()).is_ok());
    assert_eq!(tip(format!("{armored}\n{revocation}").as_bytes()), Err(Problem::Revoked));
    assert_eq!(tip(format!("{revocation}\n{armored}").as_bytes()), Err(Problem::Revoked));
    assert_eq!(tip(&[before.clone(), scene.gnupg.export()].concat()), Err(Problem::Revoked));
    // What was believed once is not, once its key was stolen.
    let commit = git(&scene.origin.bare, &["rev-parse", "main"]);
    scene.mirror.mark_good(&commit).unwrap();
    scene.is_distrusted(Problem::Revoked);

    let bob = scene.gnupg.key("Bob <bob@example.com>", "ed25519", "cert", "never");
    let subkey = scene.gnupg.subkey(&bob, "ed25519", "never");
    scene.push(Some(&scene.by_gpg(&subkey)));
    scene.is_believed("Bob <bob@example.com>");
    scene.gnupg.answer(&["--edit-key", &bob, "key 1", "revkey", "save"], "y\n1\nstolen\n\ny\n");
    scene.is_distrusted(Problem::Revoked);
}

#[test]
fn a_key_that_was_given_up_for_a_better_one_keeps_what_it_signed_before() {
    let scene = Scene::new();
    scene.gnupg.set(Some(now() - 10 * DAY), "");
    let ada = scene.gnupg.key("Ada <ada@example.com>", "ed25519", "sign", "never");
    let early = scene.push_at(Some(&scene.by_gpg(&ada)), now() - 10 * DAY);
    scene.gnupg.set(None, "");
    let late = scene.push(Some(&scene.by_gpg(&ada)));
    // Reason 2: superseded, five days ago.
    scene.gnupg.set(Some(now() - 5 * DAY), "");
    let faked =
        ["--faked-system-time", &(now() - 5 * DAY).to_string(), "--gen-revoke", &ada].map(str::to_owned);
    let revocation = scene.gnupg.answer(&faked.iter().map(String::as_str).collect::<Vec<_>>(), "y\n2\n\ny\n");
    scene.gnupg.set(None, "");
    let path = scene.origin.folder.path().join("superseded");
    fs::write(&path, revocation).unwrap();
    scene.gnupg.run(&["--import", path.to_str().unwrap()]);
    git(&scene.origin.bare, &["update-ref", "refs/heads/main", &late]);
    scene.is_distrusted(Problem::Revoked);
    git(&scene.origin.bare, &["update-ref", "refs/heads/main", &early]);
    scene.tip().unwrap_or_else(|distrust| panic!("{}", distrust.words));
}

#[test]
fn an_expired_key_subkey_or_signature_is_not_believed() {
    let scene = Scene::new();
    let then = now() - 30 * DAY;
    scene.gnupg.set(Some(then), "");
    let ada = scene.gnupg.key("Ada <ada@example.com>", "ed25519", "sign", "7d");
    let bob = scene.gnupg.key("Bob <bob@example.com>", "ed25519", "cert", "never");
    let subkey = scene.gnupg.subkey(&bob, "ed25519", "7d");
    let eve = scene.gnupg.key("Eve <eve@example.com>", "ed25519", "sign", "never");
    let by_ada = scene.push_at(Some(&scene.by_gpg(&ada)), then);
    let by_bob = scene.push_at(Some(&scene.by_gpg(&subkey)), then);
    scene.gnupg.set(Some(then), "--default-sig-expire 7d");
    let by_eve = scene.push_at(Some(&scene.by_gpg(&eve)), then);
    scene.gnupg.set(None, "");
    for commit in [&by_ada, &by_bob, &by_eve] {
        git(&scene.origin.bare, &["update-ref", "refs/heads/main", commit]);
        let words = scene.is_distrusted(Problem::Expired);
        assert!(words.contains("valid until"), "{words}");
        // It was good when it was made; what was believed then stays so.
        scene.mirror.mark_good(commit).unwrap();
        scene.tip().unwrap_or_else(|distrust| panic!("{}", distrust.words));
        scene.mirror.mark_good(&git(&scene.origin.bare, &["rev-list", "--max-parents=0", "main"])).unwrap();
    }
    // Who lets a key live longer makes its commits good again.
    scene.gnupg.run(&["--quick-set-expire", &ada, "0"]);
    scene.gnupg.run(&["--quick-set-expire", &bob, "0", &subkey]);
    for commit in [&by_ada, &by_bob] {
        git(&scene.origin.bare, &["update-ref", "refs/heads/main", commit]);
        scene.tip().unwrap_or_else(|distrust| panic!("{}", distrust.words));
    }
}

#[test]
fn somebody_elses_subkey_can_not_be_taken_over() {
    let scene = Scene::new();
    scene.gnupg.key("Eve <eve@example.com>", "ed25519", "cert", "never");
    let bob = scene.gnupg.key("Bob <bob@example.com>", "ed25519", "cert", "never");
    let subkey = scene.gnupg.subkey(&bob, "ed25519", "never");
    scene.push(Some(&scene.by_gpg(&subkey)));
    scene.is_believed("Bob <bob@example.com>");
    let taken = scene.gnupg.run(&["--export", "Bob"]);
    let taken = SignedPublicKey::from_bytes(taken.as_slice()).unwrap();
    let words = |owner: &str, may_sign: bool| {
        let bytes = rebound(&scene, owner, &taken, may_sign);
        let keys = Keys { signers: None, openpgp: Some(Certificates::parse(&bytes).unwrap()) };
        scene.judge(&policy(VerifyRange::Tip), None, &keys).unwrap_err().words
    };
    let taken_over = words("Eve", true);
    assert!(taken_over.contains("does not vouch for it in turn"), "{taken_over}");
    // What the key itself says last counts: that it is for something else.
    let other = words("Bob", false);
    assert!(other.contains("which may not sign (its key flags say so)"), "{other}");
}

/// Exports somebody's key, with a newer word of theirs on the subkey of a key.
fn rebound(scene: &Scene, owner: &str, taken: &SignedPublicKey, may_sign: bool) -> Vec<u8> {
    let subkey = &taken.public_subkeys[0].key;
    let secret = scene.gnupg.run(&["--export-secret-keys", owner]);
    let secret = SignedSecretKey::from_bytes(secret.as_slice()).unwrap().primary_key;
    let mut binding =
        SignatureConfig::v4(SignatureType::SubkeyBinding, secret.algorithm(), HashAlgorithm::Sha256);
    let mut flags = KeyFlags::default();
    flags.set_sign(may_sign);
    flags.set_encrypt_storage(!may_sign);
    let created = Timestamp::from_secs(u32::try_from(now() + 60).unwrap());
    binding.hashed_subpackets =
        [SubpacketData::SignatureCreationTime(created), SubpacketData::KeyFlags(flags)]
            .map(|data| Subpacket::regular(data).unwrap())
            .into();
    let binding =
        binding.sign_subkey_binding(&secret, secret.public_key(), &Password::empty(), subkey).unwrap();
    let mut bytes = scene.gnupg.run(&["--export", owner]);
    subkey.to_writer_with_header(&mut bytes).unwrap();
    binding.to_writer_with_header(&mut bytes).unwrap();
    bytes
}

#[test]
fn weak_hashes_and_weak_keys_are_not_believed() {
    let scene = Scene::new();
    let ada = scene.gnupg.key("Ada <ada@example.com>", "rsa3072", "sign", "never");
    scene.gnupg.set(None, "--digest-algo SHA1");
    scene.push(Some(&scene.by_gpg(&ada)));
    scene.gnupg.set(None, "");
    assert!(scene.is_distrusted_here(Problem::Invalid).contains("over SHA1, which can be forged"));
    let weak = scene.gnupg.key("Weak <weak@example.com>", "rsa1024", "sign", "never");
    scene.push(Some(&scene.by_gpg(&weak)));
    assert!(scene.is_distrusted_here(Problem::Invalid).contains("an RSA key of 1024 bits"));
    // A key whose word on itself is over a weak hash.
    scene.gnupg.set(None, "--cert-digest-algo SHA1");
    let old = scene.gnupg.key("Old <old@example.com>", "rsa3072", "sign", "never");
    scene.gnupg.set(None, "");
    scene.push(Some(&scene.by_gpg(&old)));
    assert!(scene.is_distrusted_here(Problem::Invalid).contains("over a weak hash"));
}

#[test]
fn a_signature_of_another_kind_is_unknown() {
    let scene = Scene::new();
    scene.push(None);
    let payload = scene.raw("HEAD");
    for (signature, words) in [
        ("-----BEGIN SIGNED MESSAGE-----\n MIIB\n -----END SIGNED MESSAGE-----", "an X.509 signature"),
        ("hello", "a signature of an unknown kind"),
        ("-----BEGIN PGP MESSAGE-----\n AAAA\n -----END PGP MESSAGE-----", "a signature of an unknown kind"),
    ] {
        scene.push_raw(payload.replacen("\n\n", &format!("\ngpgsig {signature}\n\n"), 1).as_bytes());
        assert!(scene.is_distrusted(Problem::Unknown).contains(words));
    }
}

#[test]
fn every_commit_since_the_last_good_one_is_checked_where_that_is_wanted() {
    let scene = Scene::new();
    let (ada, public) = scene.ssh_key("ada", "ed25519");
    scene.allow(&format!("ada {public}\n"));
    let keys = scene.keys();
    let good = scene.push(Some(&ada));
    let unsigned = scene.push(None);
    scene.push(Some(&ada));
    let judged = |range| scene.judge(&policy(range), None, &keys);
    let tip = scene.mirror.fetch().unwrap().commit;
    let ancestry = scene.mirror.ancestry(&tip, true).unwrap();
    let judgement = judge(&ancestry, &policy(VerifyRange::All), &keys, None, now());
    assert!(
        judgement.verdict.is_ok() && judgement.note.is_some(),
        "no last good commit: the newest one only"
    );

    scene.mirror.mark_good(&good).unwrap();
    assert!(judged(VerifyRange::Tip).is_ok());
    let distrust = judged(VerifyRange::All).unwrap_err();
    assert_eq!((distrust.commit, distrust.problem), (unsigned.clone(), Problem::Unsigned));
    assert!(
        distrust
            .words
            .ends_with("push a history in which every commit is signed by somebody who is believed")
    );

    // A merged commit counts as well.
    git(&scene.origin.work, &["reset", "-q", "--hard", &good]);
    git(&scene.origin.work, &["checkout", "-q", "-b", "feature"]);
    scene.commit_at(None, now());
    let merged = git(&scene.origin.work, &["rev-parse", "HEAD"]);
    git(&scene.origin.work, &["checkout", "-q", "main"]);
    merge(&scene, &ada);
    assert!(judged(VerifyRange::Tip).is_ok());
    assert_eq!(judged(VerifyRange::All).unwrap_err().commit, merged);
}

fn merge(scene: &Scene, person: &Person) -> String {
    let settings = person.iter().flat_map(|setting| ["-c", setting.as_str()]);
    let last = ["merge", "-q", "--no-ff", "-S", "-m", "merge", "feature"];
    let arguments: Vec<_> = settings.chain(last).collect();
    run(Command::new("git").current_dir(&scene.origin.work).args(arguments).envs(environment(now())));
    git(&scene.origin.work, &["push", "-q", "--force", "origin", "HEAD:main"]);
    git(&scene.origin.work, &["rev-parse", "HEAD"])
}

#[test]
fn only_what_the_forge_made_is_believed_where_that_is_wanted() {
    let scene = Scene::new();
    let (ada, public) = scene.ssh_key("ada", "ed25519");
    let forge = scene.gnupg.key("Forge <noreply@forge.example>", "ed25519", "sign", "never");
    scene.allow(&format!("ada {public}\n"));
    let keys = scene.keys();
    let good = scene.push(Some(&ada));
    scene.mirror.fetch().unwrap();
    scene.mirror.mark_good(&good).unwrap();
    let by = |forge: &str, range| {
        let policy = Policy { forge: Some(forge.to_owned()), ..policy(range) };
        scene.judge(&policy, None, &keys)
    };
    git(&scene.origin.work, &["checkout", "-q", "-b", "feature"]);
    scene.commit_at(None, now());
    git(&scene.origin.work, &["checkout", "-q", "main"]);
    merge(&scene, &scene.by_gpg(&forge));
    for name in ["noreply@forge.example", "Forge <noreply@forge.example>", &forge, &forge.to_lowercase()] {
        assert!(by(name, VerifyRange::Tip).is_ok(), "{name}");
    }
    assert_eq!(by("noreply@forge.example", VerifyRange::All).unwrap_err().problem, Problem::Unsigned);
    assert_eq!(by("ada", VerifyRange::Tip).unwrap_err().problem, Problem::NotAMerge);

    // Somebody pushes past the forge, and the forge's next merge covers it.
    let direct = scene.push(Some(&ada));
    let distrust = by("noreply@forge.example", VerifyRange::Tip).unwrap_err();
    assert_eq!((distrust.commit.clone(), distrust.problem), (direct.clone(), Problem::NotAMerge));
    assert!(distrust.words.ends_with("merge it by a pull request"), "{}", distrust.words);
    git(&scene.origin.work, &["checkout", "-q", "-B", "feature"]);
    scene.commit_at(Some(&ada), now());
    git(&scene.origin.work, &["checkout", "-q", "main"]);
    merge(&scene, &scene.by_gpg(&forge));
    assert_eq!(by("noreply@forge.example", VerifyRange::Tip).unwrap_err().commit, direct);
}

#[test]
fn rewritten_history_waits_for_an_acknowledgement_of_that_very_commit() {
    let scene = Scene::new();
    let keys = Keys::default();
    let policy = Policy { verifies: false, fast_forward_only: true, ..policy(VerifyRange::Tip) };
    let judged = |acknowledged: Option<&str>| scene.judge(&policy, acknowledged, &keys);
    let first = scene.push(None);
    assert_eq!(judged(None), Ok(None), "there is no last good commit");
    let good = scene.push(None);
    scene.mirror.fetch().unwrap();
    scene.mirror.mark_good(&good).unwrap();
    assert_eq!(judged(None), Ok(None));

    git(&scene.origin.work, &["reset", "-q", "--hard", &first]);
    let other = scene.push_at(None, now() - 100);
    let distrust = judged(None).unwrap_err();
    assert_eq!((distrust.commit.as_str(), distrust.problem), (other.as_str(), Problem::Rewritten));
    assert!(distrust.words.contains(&format!("`storekeeper acknowledge {other}`")), "{}", distrust.words);
    assert!(judged(Some(&good)).is_err() && judged(Some("")).is_err());
    assert_eq!(judged(Some(&other)), Ok(None));
    // One that goes back behind the last good commit is no step forward either.
    git(&scene.origin.bare, &["update-ref", "refs/heads/main", &first]);
    assert_eq!(judged(Some(&other)).unwrap_err().commit, first);
    // Going on from the last good commit ends it.
    git(&scene.origin.work, &["reset", "-q", "--hard", &good]);
    scene.push(None);
    assert_eq!(judged(None), Ok(None));
}
