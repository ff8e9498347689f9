package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func readCertificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestCertificatesVerifyWithTheirOwnAuthorityOnly(t *testing.T) {
	folder, now := t.TempDir(), time.Now()
	if err := writePKI(folder, now, newRealNode(3, process{1, 1})); err != nil {
		t.Fatal(err)
	}
	client, server := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	cases := []struct {
		name, authority string
		usage           x509.ExtKeyUsage
		host            string
	}{
		{"apiserver", "ca", server, "127.0.0.1"},
		{"apiserver", "ca", server, "localhost"},
		{"apiserver", "ca", server, "kubernetes.default.svc"},
		{"apiserver", "ca", server, serviceAddress},
		{"controller-manager-server", "ca", server, "127.0.0.1"},
		{"scheduler-server", "ca", server, "127.0.0.1"},
		{"kubelet-server", "ca", server, "10.245.3.2"},
		{"etcd", "etcd-ca", server, "127.0.0.1"},
		{"etcd-client", "etcd-ca", client, ""},
		{"front-proxy", "front-proxy-ca", client, ""},
	}
	for name := range identities {
		cases = append(cases, struct {
			name, authority string
			usage           x509.ExtKeyUsage
			host            string
		}{name, "ca", client, ""})
	}
	for _, c := range cases {
		certificate := readCertificate(t, filepath.Join(folder, c.name+".crt"))
		for _, authority := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
			roots := x509.NewCertPool()
			roots.AddCert(readCertificate(t, filepath.Join(folder, authority+".crt")))
			_, err := certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{c.usage}, DNSName: c.host, CurrentTime: now})
			if valid := err == nil; valid != (authority == c.authority) {
				t.Errorf("%s for %q with %s: %v", c.name, c.host, authority, err)
			}
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(folder, c.name+".crt"), filepath.Join(folder, c.name+".key")); err != nil {
			t.Errorf("%s: certificate and key do not match: %v", c.name, err)
		}
	}
}

func TestCertificatesSayWhoTheirHolderIs(t *testing.T) {
	folder := t.TempDir()
	if err := writePKI(folder, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	for name, who := range identities {
		subject := readCertificate(t, filepath.Join(folder, name+".crt")).Subject
		if subject.CommonName != who.user || !slices.Equal(subject.Organization, who.groups) {
			t.Errorf("%s: subject %s", name, subject)
		}
		if name != "admin" && slices.Contains(subject.Organization, "system:masters") {
			t.Errorf("%s may do everything", name)
		}
	}
}

func TestKeysAreReadableByTheOwnerOnly(t *testing.T) {
	folder := t.TempDir()
	if err := writePKI(folder, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", entry.Name(), info.Mode())
		}
	}
}
