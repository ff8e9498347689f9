package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// serviceNetwork and the first address in it, which the API server's own Service gets.
const (
	serviceNetwork = "10.96.0.0/16"
	serviceAddress = "10.96.0.1"
)

// A cluster lives for hours; a year leaves no surprise and no certificate worth stealing.
const certificateLifetime = 365 * 24 * time.Hour

// frontProxyName is who the API server is when it passes a request on to an aggregated API.
const frontProxyName = "devcluster:front-proxy"

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// identity is who a client certificate says its holder is: the user and the groups of RBAC.
type identity struct {
	user   string
	groups []string
}

// identities are the client certificates of the cluster's own certificate authority, by file name.
var identities = map[string]identity{
	"admin":                   {user: "devcluster:admin", groups: []string{"system:masters"}},
	"kube-controller-manager": {user: "system:kube-controller-manager"},
	"kube-scheduler":          {user: "system:kube-scheduler"},
	"kwok":                    {user: "devcluster:kwok"},
	"local-provisioner":       {user: "devcluster:local-provisioner"},
	"ingress-controller":      {user: "devcluster:ingress-controller"},
	"coredns":                 {user: "devcluster:coredns"},
	// The API server knows what a kubelet and a kube-proxy may do by these names.
	"kubelet":    {user: "system:node:" + realNodeName, groups: []string{"system:nodes"}},
	"kube-proxy": {user: "system:kube-proxy"},
	// For the API server's calls to a kubelet (logs, exec); system:kubelet-api-admin is bound to it.
	"apiserver-kubelet-client": {user: "devcluster:apiserver-kubelet-client"},
}

// writePKI fills the folder with all keys and certificates of a cluster.
//
// etcd has an authority of its own: it trusts every certificate of its authority with everything, so
// a certificate that was issued inside the cluster must not open it. The front proxy has one because
// its holder may claim to be any user; without it the components complain every few seconds.
func writePKI(folder string, now time.Time, node *realNode) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	cluster, err := newAuthority("devcluster", now)
	if err != nil {
		return err
	}
	etcd, err := newAuthority("devcluster-etcd", now)
	if err != nil {
		return err
	}
	aggregator, err := newAuthority("devcluster-front-proxy", now)
	if err != nil {
		return err
	}
	if err := cluster.write(folder, "ca"); err != nil {
		return err
	}
	if err := etcd.write(folder, "etcd-ca"); err != nil {
		return err
	}
	for name, who := range identities {
		if err := cluster.issue(folder, name, clientCertificate(who), now); err != nil {
			return err
		}
	}
	if err := aggregator.write(folder, "front-proxy-ca"); err != nil {
		return err
	}
	if err := aggregator.issue(folder, "front-proxy", clientCertificate(identity{user: frontProxyName}), now); err != nil {
		return err
	}
	type server struct {
		signer *authority
		name   string
		names  []string
		// address is one more than those that all have.
		address net.IP
	}
	servers := []server{
		{cluster, "apiserver", []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}, nil},
		{cluster, "controller-manager-server", nil, nil},
		{cluster, "scheduler-server", nil, nil},
		{etcd, "etcd", nil, nil},
	}
	if node != nil {
		servers = append(servers, server{cluster, "kubelet-server", []string{realNodeName}, net.ParseIP(node.Address)})
	}
	for _, server := range servers {
		template := serverCertificate(server.name, server.names)
		if server.address != nil {
			template.IPAddresses = append(template.IPAddresses, server.address)
		}
		if err := server.signer.issue(folder, server.name, template, now); err != nil {
			return err
		}
	}
	if err := etcd.issue(folder, "etcd-client", clientCertificate(identity{user: "devcluster:etcd-client"}), now); err != nil {
		return err
	}
	return writeServiceAccountKey(folder)
}

func newAuthority(name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	content, err := sign(template, template, &key.PublicKey, key, now)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(content)
	if err != nil {
		return nil, err
	}
	return &authority{certificate: certificate, key: key}, nil
}

func clientCertificate(who identity) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: who.user, Organization: who.groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// serverCertificate is good for clients too: an etcd server calls itself with it.
func serverCertificate(name string, names []string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    append([]string{"localhost"}, names...),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceAddress)},
	}
}

func (a *authority) issue(folder, name string, template *x509.Certificate, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	content, err := sign(template, a.certificate, &key.PublicKey, a.key, now)
	if err != nil {
		return fmt.Errorf("sign certificate %s: %w", name, err)
	}
	return writePair(folder, name, content, key)
}

func (a *authority) write(folder, name string) error {
	return writePair(folder, name, a.certificate.Raw, a.key)
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	// An hour back, for machines whose clock is stepped while the cluster starts.
	template.NotBefore = now.Add(-time.Hour)
	template.NotAfter = now.Add(certificateLifetime)
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

func writePair(folder, name string, certificate []byte, key *ecdsa.PrivateKey) error {
	if err := writePEM(filepath.Join(folder, name+".crt"), "CERTIFICATE", certificate); err != nil {
		return err
	}
	return writeKey(filepath.Join(folder, name+".key"), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	content, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", content)
}

func writeServiceAccountKey(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(folder, "service-account.key"), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(folder, "service-account.pub"), "PUBLIC KEY", public)
}

func writePEM(path, kind string, content []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600)
}
