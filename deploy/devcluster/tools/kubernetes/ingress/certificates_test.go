package ingress

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secretStore stands for the cache of Secrets.
type secretStore struct {
	mu      sync.Mutex
	secrets map[string]*core.Secret
}

func (s *secretStore) get(key string) *core.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secrets[key]
}

func (s *secretStore) set(key, version string, certificate *tls.Certificate) {
	private, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[key] = &core.Secret{
		ObjectMeta: meta.ObjectMeta{ResourceVersion: version},
		Data: map[string][]byte{
			core.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
			core.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	}
}

func newCertificate(t *testing.T) *tls.Certificate {
	t.Helper()
	certificate, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// presented returns the certificate that a server shows to who asks for a name.
func presented(t *testing.T, address, name string) string {
	t.Helper()
	connection, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	return string(connection.ConnectionState().PeerCertificates[0].Raw)
}

func TestTheCertificateIsThatOfTheNameAskedFor(t *testing.T) {
	current := holding(&table{hosts: map[string]*virtualHost{
		"a.test": {tls: true, secret: "demo/a"}, "*.b.test": {tls: true, secret: "demo/b"},
		"none.test": {tls: true, secret: "demo/none"}, "bad.test": {tls: true, secret: "demo/bad"}, "plain.test": {},
	}})
	store := &secretStore{secrets: map[string]*core.Secret{"demo/bad": {Data: map[string][]byte{core.TLSCertKey: []byte("nonsense")}}}}
	first, second, renewed := newCertificate(t), newCertificate(t), newCertificate(t)
	store.set("demo/a", "1", first)
	store.set("demo/b", "1", second)
	chosen, err := newCertificates(current, store.get)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(http.NotFoundHandler())
	server.TLSConfig = chosen.config()
	go func() { _ = server.ServeTLS(listener, "", "") }()
	defer server.Close()
	check := func(name string, want *tls.Certificate) {
		t.Helper()
		if presented(t, listener.Addr().String(), name) != string(want.Certificate[0]) {
			t.Errorf("%s gets another certificate", name)
		}
	}
	check("a.test", first)
	check("A.test", first)
	check("x.b.test", second)
	for _, name := range []string{"none.test", "bad.test", "plain.test", "unknown.test", ""} {
		check(name, chosen.fallback)
	}
	store.set("demo/a", "2", renewed)
	check("a.test", renewed)
}

func TestPlainRequestsForHostsWithTLSAreSentToHTTPS(t *testing.T) {
	endpoint := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	})
	content := frontendTable(endpoint)
	content.hosts["shop.test"].tls = true
	content.hosts["plain.test"] = &virtualHost{routes: content.hosts["shop.test"].routes}
	for port, want := range map[string]string{"443": "https://shop.test/cart?a=b", "8443": "https://shop.test:8443/cart?a=b"} {
		server := httptest.NewServer(newProxy(holding(content), port, false))
		response, _ := send(t, request(t, server, "POST", "/cart?a=b", "x"))
		if response.StatusCode != 308 || response.Header.Get("Location") != want {
			t.Errorf("%d %s", response.StatusCode, response.Header.Get("Location"))
		}
		plain := request(t, server, "GET", "/", "")
		plain.Host = "plain.test"
		if response, body := send(t, plain); response.StatusCode != 200 || body != "http" {
			t.Errorf("a host without TLS: %d %q", response.StatusCode, body)
		}
		server.Close()
	}
	if response, _ := send(t, request(t, frontendFor(t, content), "GET", "/", "")); response.StatusCode != 200 {
		t.Errorf("without a TLS address: %d", response.StatusCode)
	}
	encrypted := httptest.NewTLSServer(newProxy(holding(content), "443", false))
	defer encrypted.Close()
	r := request(t, encrypted, "GET", "/", "")
	response, err := encrypted.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != 200 || strings.TrimSpace(string(body)) != "https" {
		t.Errorf("over TLS: %d %q", response.StatusCode, body)
	}
}
