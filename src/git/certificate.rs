//! Whether an https certificate is trusted by the system's authorities and those of one file.
//!
//! libgit2 takes extra authorities only as process-wide state behind `unsafe`, and shows a callback the
//! server's certificate without the intermediate ones. So for a source with a file of authorities, a second
//! handshake through the same relay has OpenSSL verify the whole chain, host name and dates, and the
//! certificate that libgit2 sees must be the very one that was verified.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use openssl::ssl::{HandshakeError, SslConnector, SslMethod};
use openssl::x509::X509VerifyResult;

use super::relay::Relay;
use super::url::bracketed;

/// Connects through a relay and returns the certificate, DER-encoded, that the host showed, once OpenSSL
/// trusts it. The error says in words why it does not.
pub(super) fn trusted_certificate(
    relay: &Relay,
    host: &str,
    port: u16,
    ca_file: Option<&Path>,
) -> Result<Vec<u8>, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).map_err(|error| error.to_string())?;
    if let Some(ca_file) = ca_file {
        connector
            .set_ca_file(ca_file)
            .map_err(|_| format!("{} is not a readable PEM file of certificates", ca_file.display()))?;
    }
    let mut stream = TcpStream::connect(relay.address()).map_err(|error| error.to_string())?;
    let target = format!("{}:{port}", bracketed(host));
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).map_err(|error| error.to_string())? == 0 {
            return Err("the connection was closed".to_owned());
        }
        answer.push(byte[0]);
    }
    let stream = match connector.build().connect(host, stream) {
        Ok(stream) => stream,
        Err(HandshakeError::Failure(stream)) if stream.ssl().verify_result() != X509VerifyResult::OK => {
            return Err(stream.ssl().verify_result().error_string().to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    let certificate = stream.ssl().peer_certificate().ok_or("the host showed no certificate")?;
    certificate.to_der().map_err(|error| error.to_string())
}
