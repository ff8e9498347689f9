//! A private OpenSSH server on a high port of the loopback interface, with its own keys and configuration.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that is stopped when it is dropped.
pub struct Sshd {
    child: Child,
    pub port: u16,
    /// The public half of the host key, as `type base64`.
    pub host_key: String,
    pub user: String,
}

impl Sshd {
    /// Starts a server with a host key of a type, which lets one public key in. Its git reads repositories of other users'
    /// too, such as a forge's.
    pub fn start(folder: &Path, key_type: &str, client_key: &Path) -> Self {
        let binary = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .expect("sshd must be installed (Debian package openssh-server)");
        // Root's sshd insists on this folder, which a running system makes at boot.
        let _ = fs::create_dir("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host_key = folder.join(format!("host_{key_type}_{port}"));
        make_key(&host_key, key_type, "");
        let authorized = folder.join("authorized_keys");
        fs::copy(client_key.with_extension("pub"), &authorized).unwrap();
        let config = folder.join(format!("sshd_config_{port}"));
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\n\
             SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*\n",
            host_key.display(),
            authorized.display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new(binary)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let public = fs::read_to_string(host_key.with_extension("pub")).unwrap();
        let host_key = public.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap().trim().to_owned();
        let server = Self { child, port, host_key, user };
        server.wait(folder);
        server
    }

    fn wait(&self, folder: &Path) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(folder.join("sshd.log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(20), "sshd did not start: {log}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a key pair with OpenSSH's own tool.
pub fn make_key(path: &Path, key_type: &str, passphrase: &str) -> PathBuf {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", key_type, "-N", passphrase, "-C", "test", "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen must be installed (Debian package openssh-client)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}
