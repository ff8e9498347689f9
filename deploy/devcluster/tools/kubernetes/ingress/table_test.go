package ingress

import (
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Most tests have one namespace, whose name says nothing.
const namespace = "demo"

func ownClass(name string, isDefault bool) *networking.IngressClass {
	class := &networking.IngressClass{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: networking.IngressClassSpec{Controller: controllerName}}
	if isDefault {
		class.Annotations = map[string]string{networking.AnnotationIsDefaultIngressClass: "true"}
	}
	return class
}

func newIngress(name string, age time.Duration, rules ...networking.IngressRule) *networking.Ingress {
	return &networking.Ingress{
		ObjectMeta: meta.ObjectMeta{
			Namespace: namespace, Name: name,
			CreationTimestamp: meta.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(-age)),
		},
		Spec: networking.IngressSpec{Rules: rules},
	}
}

func rule(host string, paths ...networking.HTTPIngressPath) networking.IngressRule {
	return networking.IngressRule{Host: host, IngressRuleValue: networking.IngressRuleValue{HTTP: &networking.HTTPIngressRuleValue{Paths: paths}}}
}

func to(kind networking.PathType, path, service string) networking.HTTPIngressPath {
	return networking.HTTPIngressPath{Path: path, PathType: &kind, Backend: toService(service, networking.ServiceBackendPort{Name: "http"})}
}

func toService(service string, port networking.ServiceBackendPort) networking.IngressBackend {
	return networking.IngressBackend{Service: &networking.IngressServiceBackend{Name: service, Port: port}}
}

func newService(name string) *core.Service {
	return &core.Service{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       core.ServiceSpec{Ports: []core.ServicePort{{Name: "metrics", Port: 9090}, {Name: "http", Port: 80}}},
	}
}

func endpoint(address string, conditions discovery.EndpointConditions) discovery.Endpoint {
	return discovery.Endpoint{Addresses: []string{address}, Conditions: conditions}
}

func slice(service string, port int32, endpoints ...discovery.Endpoint) *discovery.EndpointSlice {
	return &discovery.EndpointSlice{
		ObjectMeta:  meta.ObjectMeta{Namespace: namespace, Labels: map[string]string{discovery.LabelServiceName: service}},
		AddressType: discovery.AddressTypeIPv4,
		Ports:       []discovery.EndpointPort{{Name: new("metrics"), Port: new(int32(9))}, {Name: new("http"), Port: &port}},
		Endpoints:   endpoints,
	}
}

// tableOf has the default class, and every Service that an Ingress names, with one ready endpoint.
func tableOf(ingresses ...*networking.Ingress) *table {
	from := objects{classes: []*networking.IngressClass{ownClass("devcluster", true)}, ingresses: ingresses}
	for _, name := range []string{"a", "b", "c", "d"} {
		from.services = append(from.services, newService(name))
		from.slices = append(from.slices, slice(name, 8080, endpoint("10.0.0."+name, discovery.EndpointConditions{})))
	}
	return buildTable(from)
}

// goesTo returns the name of the Service, or what is missing.
func goesTo(t *table, host, path string) string {
	found := t.find(hostName(host))
	if found == nil {
		return "no host"
	}
	backend := found.match(path)
	if backend == nil {
		return "no path"
	}
	return strings.TrimSuffix(strings.TrimPrefix(backend.name, namespace+"/"), ":http")
}

type lookup struct{ host, path, want string }

func expect(t *testing.T, table *table, lookups []lookup) {
	t.Helper()
	for _, l := range lookups {
		if got := goesTo(table, l.host, l.path); got != l.want {
			t.Errorf("%s %s goes to %s, not to %s", l.host, l.path, got, l.want)
		}
	}
}

const (
	exact    = networking.PathTypeExact
	prefix   = networking.PathTypePrefix
	specific = networking.PathTypeImplementationSpecific
)

func TestHostsAreFoundByNameThenByWildcardThenWithoutHost(t *testing.T) {
	table := tableOf(newIngress("i", 0, rule("Shop.Example.com", to(prefix, "/", "a")), rule("*.example.com", to(prefix, "/", "b"))))
	expect(t, table, []lookup{
		{"shop.example.com", "/", "a"},
		{"SHOP.example.COM:8080", "/", "a"},
		{"shop.example.com.", "/", "a"},
		{"other.example.com", "/", "b"},
		{"a.b.example.com", "/", "no host"},
		{"example.com", "/", "no host"},
		{"", "/", "no host"},
		{"[::1]:80", "/", "no host"},
	})
	table = tableOf(newIngress("i", 0, rule("shop.example.com", to(prefix, "/shop", "a")), rule("", to(prefix, "/", "b"))))
	expect(t, table, []lookup{{"anything", "/", "b"}, {"", "/", "b"}, {"shop.example.com", "/other", "no path"}})
}

// The cases of the Kubernetes documentation, "Ingress", section "Examples" of path types.
func TestPathsAreMatchedByElements(t *testing.T) {
	for _, c := range []struct {
		kind            networking.PathType
		path, requested string
		want            bool
	}{
		{prefix, "/", "/any/thing", true},
		{exact, "/foo", "/foo", true},
		{exact, "/foo", "/bar", false},
		{exact, "/foo", "/foo/", false},
		{exact, "/foo/", "/foo", false},
		{prefix, "/foo", "/foo", true},
		{prefix, "/foo", "/foo/", true},
		{prefix, "/foo/", "/foo", true},
		{prefix, "/foo/", "/foo/", true},
		{prefix, "/aaa/bb", "/aaa/bbb", false},
		{prefix, "/aaa/bbb", "/aaa/bbb", true},
		{prefix, "/aaa/bbb/", "/aaa/bbb", true},
		{prefix, "/aaa/bbb", "/aaa/bbb/ccc", true},
		{prefix, "/aaa/bbb", "/aaa/bbbxyz", false},
		{prefix, "/aaa", "/AAA", false},
		{specific, "/foo", "/foo/bar", true},
		{specific, "", "/foo", true},
		// Not written as in the rule, but the same to most upstreams.
		{prefix, "/admin", "/store/../admin/users", true},
		{prefix, "/admin", "//admin", true},
		{prefix, "/store", "/store/../admin", false},
	} {
		table := tableOf(newIngress("i", 0, rule("h", to(c.kind, c.path, "a"))))
		if got := goesTo(table, "h", c.requested) == "a"; got != c.want {
			t.Errorf("%s %q matches %q: %t", c.kind, c.path, c.requested, got)
		}
	}
}

func TestTheLongestPathWinsAndExactComesFirst(t *testing.T) {
	fallback := newIngress("i", 0, rule("h", to(prefix, "/a", "a"), to(prefix, "/a/b", "b"), to(exact, "/a/b", "c")))
	fallback.Spec.DefaultBackend = new(toService("d", networking.ServiceBackendPort{Name: "http"}))
	expect(t, tableOf(fallback), []lookup{{"h", "/a/x", "a"}, {"h", "/a/b/c", "b"}, {"h", "/a/b", "c"}, {"h", "/a/b/", "b"}, {"h", "/", "d"}, {"other", "/", "no host"}})
	fallback.Spec.Rules = nil
	expect(t, tableOf(fallback), []lookup{{"any", "/path", "d"}})
}

func TestTheOldestIngressKeepsAPathThatTwoClaim(t *testing.T) {
	younger := newIngress("a-younger", time.Hour, rule("h", to(prefix, "/x/", "b"), to(exact, "/x", "b"), to(prefix, "/y", "b")))
	older := newIngress("b-older", 2*time.Hour, rule("h", to(prefix, "/x", "a")))
	for _, order := range [][]*networking.Ingress{{younger, older}, {older, younger}} {
		table := tableOf(order...)
		expect(t, table, []lookup{{"h", "/x/1", "a"}, {"h", "/x", "b"}, {"h", "/y", "b"}})
		want := []string{`Ingress demo/a-younger does not get host "h" path "/x": the older demo/b-older has it`}
		if !slices.Equal(table.conflicts, want) {
			t.Errorf("conflicts: %q", table.conflicts)
		}
	}
}

func TestOnlyOwnClassesCount(t *testing.T) {
	foreign := &networking.IngressClass{ObjectMeta: meta.ObjectMeta{Name: "foreign"}, Spec: networking.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}
	none := newIngress("none", 0)
	named := newIngress("named", 0)
	named.Spec.IngressClassName = new("devcluster")
	old := newIngress("old", 0)
	old.Annotations = map[string]string{"kubernetes.io/ingress.class": "devcluster"}
	other := newIngress("other", 0)
	other.Spec.IngressClassName = new("foreign")
	otherOld := newIngress("other-old", 0)
	otherOld.Annotations = map[string]string{"kubernetes.io/ingress.class": "foreign"}
	for _, isDefault := range []bool{true, false} {
		table := buildTable(objects{
			classes:   []*networking.IngressClass{foreign, ownClass("devcluster", isDefault)},
			ingresses: []*networking.Ingress{none, named, old, other, otherOld},
		})
		var names []string
		for _, ingress := range table.own {
			names = append(names, ingress.Name)
		}
		want := []string{"named", "none", "old"}
		if !isDefault {
			want = []string{"named", "old"}
		}
		if !slices.Equal(names, want) {
			t.Errorf("own Ingresses with default %t: %q", isDefault, names)
		}
	}
}

func TestEndpointsAreThoseThatAreReadyAndStay(t *testing.T) {
	udp := slice("a", 8080, endpoint("10.0.0.9", discovery.EndpointConditions{}))
	udp.Ports[1].Protocol = new(core.ProtocolUDP)
	from := objects{
		services: []*core.Service{newService("a")},
		slices: []*discovery.EndpointSlice{
			slice("a", 8080,
				endpoint("10.0.0.3", discovery.EndpointConditions{Ready: new(true)}),
				endpoint("10.0.0.2", discovery.EndpointConditions{Ready: new(false)}),
				endpoint("10.0.0.1", discovery.EndpointConditions{}),
				// publishNotReadyAddresses leaves ready at true while the pod goes.
				endpoint("10.0.0.4", discovery.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(true)})),
			slice("a", 8081, endpoint("10.0.0.3", discovery.EndpointConditions{})),
			slice("a", 8080, endpoint("10.0.0.3", discovery.EndpointConditions{})),
			slice("b", 8080, endpoint("10.0.0.8", discovery.EndpointConditions{})),
			udp,
		},
	}
	for _, port := range []networking.ServiceBackendPort{{Name: "http"}, {Number: 80}} {
		backend := newResolver(from).resolve(namespace, new(toService("a", port)))
		if want := []string{"10.0.0.1:8080", "10.0.0.3:8080", "10.0.0.3:8081"}; !slices.Equal(backend.endpoints, want) || backend.problem != "" {
			t.Errorf("port %v: %+v", port, backend)
		}
	}
}

func TestABackendWithoutEndpointsSaysWhy(t *testing.T) {
	external := newService("external")
	external.Spec.Type = core.ServiceTypeExternalName
	resolver := newResolver(objects{services: []*core.Service{newService("a"), external}})
	http := networking.ServiceBackendPort{Name: "http"}
	for _, c := range []struct {
		wanted     networking.IngressBackend
		name, want string
	}{
		{toService("a", http), "demo/a:http", "no endpoint is ready"},
		{toService("a", networking.ServiceBackendPort{Number: 81}), "demo/a:81", "the Service has no such port"},
		{toService("b", http), "demo/b:http", "the Service does not exist"},
		{toService("external", http), "demo/external:http", "Services of type ExternalName are not served here"},
		{networking.IngressBackend{}, "demo/?", "backends other than Services are not served here"},
	} {
		backend := resolver.resolve(namespace, &c.wanted)
		if backend.name != c.name || backend.problem != c.want || len(backend.endpoints) > 0 {
			t.Errorf("got %+v", backend)
		}
	}
}

func TestAHostHasTLSWhenItsIngressSaysSo(t *testing.T) {
	ingress := newIngress("i", 0, rule("a.example.com"), rule("b.example.com"), rule("example.org"), rule("plain"))
	ingress.Spec.TLS = []networking.IngressTLS{
		{Hosts: []string{"A.example.com"}, SecretName: "one"}, {Hosts: []string{"*.example.com"}, SecretName: "many"}, {Hosts: []string{"example.org"}},
	}
	hosts := tableOf(ingress).hosts
	for name, want := range map[string]virtualHost{
		"a.example.com": {tls: true, secret: "demo/one"}, "b.example.com": {tls: true, secret: "demo/many"}, "example.org": {tls: true}, "plain": {},
	} {
		if got := hosts[name]; got.tls != want.tls || got.secret != want.secret {
			t.Errorf("%s: %+v", name, got)
		}
	}
	ingress.Spec.TLS = []networking.IngressTLS{{SecretName: "all"}}
	if got := tableOf(ingress).hosts["plain"]; got.secret != "demo/all" {
		t.Errorf("an entry without hosts: %+v", got)
	}
}
