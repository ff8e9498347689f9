package ingress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// certificates chooses the certificate for a TLS client by the name that it asks for.
type certificates struct {
	table *atomic.Pointer[table]
	// secret returns a Secret by namespace/name, nil if there is none.
	secret func(key string) *core.Secret
	// fallback is for names without a certificate, so that a client sees a warning instead of nothing.
	fallback *tls.Certificate

	mu sync.Mutex
	// parsed spares a handshake the parsing; by namespace/name.
	parsed map[string]parsedCertificate
}

type parsedCertificate struct {
	version string
	// certificate is nil when the Secret's content is no pair.
	certificate *tls.Certificate
}

func newCertificates(current *atomic.Pointer[table], secret func(string) *core.Secret) (*certificates, error) {
	fallback, err := selfSigned(time.Now())
	if err != nil {
		return nil, err
	}
	return &certificates{table: current, secret: secret, fallback: fallback, parsed: map[string]parsedCertificate{}}, nil
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.choose}
}

func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := c.table.Load().find(hostName(hello.ServerName))
	if host == nil || host.secret == "" {
		return c.fallback, nil
	}
	if certificate := c.fromSecret(host.secret); certificate != nil {
		return certificate, nil
	}
	return c.fallback, nil
}

func (c *certificates) fromSecret(key string) *tls.Certificate {
	secret := c.secret(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret == nil {
		delete(c.parsed, key)
		return nil
	}
	version := string(secret.UID) + "/" + secret.ResourceVersion
	if known, found := c.parsed[key]; found && known.version == version {
		return known.certificate
	}
	fresh := parsedCertificate{version: version}
	pair, err := tls.X509KeyPair(secret.Data[core.TLSCertKey], secret.Data[core.TLSPrivateKeyKey])
	if err == nil {
		fresh.certificate = &pair
	} else {
		klog.ErrorS(err, "Secret holds no usable certificate", "secret", key)
	}
	c.parsed[key] = fresh
	return fresh.certificate
}

// selfSigned makes a certificate that no client trusts and whose name says where it comes from.
func selfSigned(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: serverName + " fallback"},
		DNSNames:     []string{serverName + ".invalid"},
		// An hour back, for machines whose clock is stepped while the cluster starts.
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(365 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	content, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{content}, PrivateKey: key}, nil
}
