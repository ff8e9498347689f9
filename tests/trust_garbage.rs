//! What strangers send is read in bounded time and never believed by accident: mutations of real signatures, of
//! commits that carry them, and of files of keys.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::fs;
use std::panic;
use std::time::{Duration, Instant};

use storekeeper::trust::{AllowedSigners, Certificates, Keys, fuzz};

/// The time at which the material was made to be good: 2026-11-23.
const NOW: i64 = 1_795_392_000;

/// How many mutations each piece of material gets.
const ROUNDS: usize = 3000;

/// The longest that reading one of them may take, in a build without optimization.
const LONGEST: Duration = Duration::from_secs(2);

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 29
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }
}

/// What a file holds that real `git`, `ssh-keygen` and `gpg` wrote.
fn material(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/data/trust/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn keys() -> Keys {
    let signers = String::from_utf8(material("allowed_signers")).unwrap();
    let openpgp = Certificates::parse(&material("openpgp.asc")).unwrap();
    Keys { signers: Some(AllowedSigners::parse(&signers).unwrap()), openpgp: Some(openpgp) }
}

/// Changes bytes in one to four ways that parsers stumble over.
fn mutated(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len());
        match numbers.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(numbers.below(256)).unwrap()),
            2 => drop(bytes.splice(at..(at + numbers.below(40)).min(bytes.len()), [])),
            3 => {
                let end = (at + numbers.below(200)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 if !bytes.is_empty() => bytes[at] = [0, 0x7f, 0x80, 0xff][numbers.below(4)],
            5 if at + 4 <= bytes.len() => bytes[at..at + 4].fill(0xff),
            _ if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            _ => {}
        }
    }
    bytes
}

/// Mutates base64 inside of armor too: what gets through the text is what the parsers of packets see.
fn mutated_inside(text: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let text = String::from_utf8_lossy(text).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let is_body =
        |line: &str| !line.contains("-----") && line.trim().len() > 20 && !line.contains([':', '=', '<']);
    let Some(start) = lines.iter().position(|line| is_body(line)) else {
        return mutated(text.as_bytes(), numbers);
    };
    let end = start
        + lines[start..]
            .iter()
            .take_while(|line| !line.contains("-----") && !line.trim().starts_with('='))
            .count();
    let indent = if lines[start].starts_with(' ') { " " } else { "" };
    let body: String = lines[start..end].iter().map(|line| line.trim()).collect();
    let Ok(bytes) = STANDARD.decode(&body) else { return mutated(text.as_bytes(), numbers) };
    let encoded = STANDARD.encode(mutated(&bytes, numbers));
    let encoded: Vec<_> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| format!("{indent}{}", String::from_utf8_lossy(line)))
        .collect();
    let rest: Vec<_> = lines[end..]
        .iter()
        .filter(|line| !line.trim().starts_with('='))
        .map(|line| (*line).to_owned())
        .collect();
    let before = lines[..start].iter().map(|line| (*line).to_owned());
    let all: Vec<_> = before.chain(encoded).chain(rest).collect();
    format!("{}\n", all.join("\n")).into_bytes()
}

/// Feeds mutations to a function. Returns how many of them it took for good.
fn feed(seed: u64, bytes: &[u8], takes: &(dyn Fn(&[u8]) -> bool + panic::RefUnwindSafe)) -> usize {
    let (mut numbers, mut taken) = (Numbers(seed), 0);
    for round in 0..ROUNDS {
        let garbage =
            if round % 2 == 0 { mutated(bytes, &mut numbers) } else { mutated_inside(bytes, &mut numbers) };
        let start = Instant::now();
        let outcome = panic::catch_unwind(|| takes(&garbage));
        let took = start.elapsed();
        let shown = String::from_utf8_lossy(&garbage);
        let outcome = outcome.unwrap_or_else(|_| panic!("round {round} panicked:\n{shown}"));
        assert!(took < LONGEST, "round {round} took {took:?}:\n{shown}");
        taken += usize::from(outcome && garbage != bytes);
    }
    taken
}

#[test]
fn mutated_commits_are_read_in_time_and_not_believed() {
    let keys = keys();
    for (seed, name) in
        ["ssh-ed25519", "ssh-rsa", "ssh-certificate", "gpg-ed25519", "gpg-rsa"].iter().enumerate()
    {
        let commit = material(&format!("commit-{name}"));
        assert!(fuzz::commit(&commit, &keys, NOW), "{name} is good as it is");
        let keys = panic::AssertUnwindSafe(&keys);
        let believed = feed(seed as u64, &commit, &move |bytes| {
            let keys = &keys;
            // The signature's own white space and unprotected parts may change; the commit may not.
            fuzz::commit(bytes, keys, NOW) && payload(bytes) != payload(&material(&format!("commit-{name}")))
        });
        assert_eq!(believed, 0, "{name}");
    }
}

/// The commit without its signature.
fn payload(commit: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(commit);
    let Some((header, message)) = text.split_once("\n\n") else { return commit.to_vec() };
    let mut inside = false;
    let kept = header.split('\n').filter(|line| {
        inside = line.starts_with("gpgsig ") || (inside && line.starts_with(' '));
        !inside
    });
    format!("{}\n\n{message}", kept.collect::<Vec<_>>().join("\n")).into_bytes()
}

#[test]
fn mutated_files_of_keys_are_read_in_time() {
    let signers = material("allowed_signers");
    assert!(fuzz::allowed_signers(&signers));
    let taken = feed(11, &signers, &|bytes| fuzz::allowed_signers(bytes));
    println!("allowed signers: {taken} of {ROUNDS} were files still");
    for (seed, name) in [(12, "openpgp.asc"), (13, "openpgp.gpg")] {
        let keys = material(name);
        assert!(fuzz::openpgp_keys(&keys), "{name}");
        let taken = feed(seed, &keys, &|bytes| fuzz::openpgp_keys(bytes));
        println!("{name}: {taken} of {ROUNDS} were files still");
    }
}

#[test]
fn what_is_made_to_be_slow_is_not() {
    let keys = keys();
    let commit = |signature: &str| {
        format!("tree x\ncommitter A <a@b> 1795000000 +0000\ngpgsig {signature}\n\nsubject\n").into_bytes()
    };
    let long = "A".repeat(1024 * 1024);
    let deep = "-----BEGIN PGP SIGNATURE-----\n ".repeat(20_000);
    let start = Instant::now();
    for signature in [
        format!("-----BEGIN SSH SIGNATURE-----\n {long}\n -----END SSH SIGNATURE-----"),
        format!("-----BEGIN PGP SIGNATURE-----\n\n {long}\n -----END PGP SIGNATURE-----"),
        deep,
        "x\n ".repeat(300_000),
    ] {
        assert!(!fuzz::commit(&commit(&signature), &keys, NOW));
    }
    let line = format!("{} ssh-ed25519 AAAA\n", "*a".repeat(100_000));
    assert!(!fuzz::allowed_signers(line.as_bytes()));
    assert!(!fuzz::allowed_signers("\"".repeat(4_000_000).as_bytes()));
    assert!(!fuzz::openpgp_keys(&vec![0xc6; 4_000_000]));
    assert!(!fuzz::openpgp_keys(&[0xca, 0x00].repeat(1_000_000)), "a million markers");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
