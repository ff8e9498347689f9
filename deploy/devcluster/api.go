package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed manifests
var manifests embed.FS

func manifest(name string) string {
	content, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		// The file is part of the program.
		panic(err)
	}
	return string(content)
}

// probe asks components over HTTP, as the cluster's administrator or, for etcd, as its client.
type probe struct {
	admin *http.Client
	etcd  *http.Client
}

func newProbe(pki string) (*probe, error) {
	admin, err := tlsClient(pki, "ca", "admin")
	if err != nil {
		return nil, err
	}
	etcd, err := tlsClient(pki, "etcd-ca", "etcd-client")
	if err != nil {
		return nil, err
	}
	return &probe{admin: admin, etcd: etcd}, nil
}

func tlsClient(pki, authority, who string) (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(pki, authority+".crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(pki, who+".crt"), filepath.Join(pki, who+".key"))
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout: 10 * time.Second,
		// A transport of its own: no proxy from the environment.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}},
	}, nil
}

// healthy returns nil if the component answers that it works. One without an address only has to run.
func (p *probe) healthy(ctx context.Context, component component) error {
	if component.health == "" {
		return nil
	}
	client := p.admin
	if component.name == etcdName {
		client = p.etcd
	}
	status, body, err := send(ctx, client, http.MethodGet, component.health, "", nil)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s answers %d: %s", component.health, status, lastLines(string(body), 5))
	}
	return nil
}

// api talks to the API server as the administrator.
type api struct {
	server string
	client *http.Client
}

// get reads an object; found is false if it does not exist.
func (a *api) get(ctx context.Context, path string, into any) (found bool, err error) {
	status, body, err := send(ctx, a.client, http.MethodGet, a.server+path, "", nil)
	switch {
	case err != nil:
		return false, err
	case status == http.StatusNotFound:
		return false, nil
	case status != http.StatusOK:
		return false, fmt.Errorf("GET %s answers %d: %s", path, status, body)
	}
	return true, json.Unmarshal(body, into)
}

// collections maps the kinds of the embedded manifests to their paths: this small list spares the
// program all client libraries.
var collections = map[string]string{
	"ClusterRole":        "/apis/rbac.authorization.k8s.io/v1/clusterroles/",
	"ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/",
	"IngressClass":       "/apis/networking.k8s.io/v1/ingressclasses/",
	"StorageClass":       "/apis/storage.k8s.io/v1/storageclasses/",
	"FlowSchema":         "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/",
	"Node":               "/api/v1/nodes/",
	"Service":            "/api/v1/namespaces/NAMESPACE/services/",
	"EndpointSlice":      "/apis/discovery.k8s.io/v1/namespaces/NAMESPACE/endpointslices/",
}

var (
	manifestKind      = regexp.MustCompile(`(?m)^kind: (\S+)$`)
	manifestName      = regexp.MustCompile(`(?m)^metadata:\n  name: (\S+)$`)
	manifestNamespace = regexp.MustCompile(`(?m)^metadata:\n  name: \S+\n  namespace: (\S+)$`)
)

// manifestPath returns the path of the object that a manifest describes.
func manifestPath(document string) (string, error) {
	kind, name := manifestKind.FindStringSubmatch(document), manifestName.FindStringSubmatch(document)
	if kind == nil || name == nil || collections[kind[1]] == "" {
		return "", fmt.Errorf("manifest without known kind and name:\n%s", document)
	}
	path := collections[kind[1]] + name[1]
	if namespace := manifestNamespace.FindStringSubmatch(document); namespace != nil {
		path = strings.Replace(path, "NAMESPACE", namespace[1], 1)
	}
	if strings.Contains(path, "NAMESPACE") {
		return "", fmt.Errorf("manifest without a namespace:\n%s", document)
	}
	return path, nil
}

// apply creates or updates the objects of a manifest.
func (a *api) apply(ctx context.Context, documents string) error {
	for document := range strings.SplitSeq(documents, "\n---\n") {
		path, err := manifestPath(document)
		if err != nil {
			return err
		}
		status, body, err := send(ctx, a.client, http.MethodPatch, a.server+path+"?fieldManager=devcluster&force=true",
			"application/apply-patch+yaml", []byte(document))
		if err != nil {
			return err
		}
		if status != http.StatusOK && status != http.StatusCreated {
			return fmt.Errorf("apply %s: the API server answers %d: %s", path, status, body)
		}
	}
	return nil
}

func send(ctx context.Context, client *http.Client, method, url, contentType string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	// In the audit log, so that counts can leave it out.
	request.Header.Set("User-Agent", "devcluster")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, content, err
}

// usable returns nil once the cluster can run a user's first pod: not when the API server answers,
// but when a pod would be admitted, scheduled, started and given a volume.
func (a *api) usable(ctx context.Context, nodes []string) error {
	type object struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	for _, path := range []string{
		"/api/v1/namespaces/default/serviceaccounts/default",
		"/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
		"/apis/storage.k8s.io/v1/storageclasses/standard",
	} {
		if found, err := a.get(ctx, path, &object{}); err != nil || !found {
			return errors.Join(fmt.Errorf("%s does not exist yet", path), err)
		}
	}
	for _, name := range nodes {
		var node object
		found, err := a.get(ctx, "/api/v1/nodes/"+name, &node)
		if err != nil {
			return err
		}
		ready := false
		for _, condition := range node.Status.Conditions {
			ready = ready || condition.Type == "Ready" && condition.Status == "True"
		}
		if !found || !ready {
			return fmt.Errorf("node %s is not ready yet", name)
		}
	}
	return nil
}
