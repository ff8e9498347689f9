package ingress

import (
	"cmp"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	networking "k8s.io/api/networking/v1"
)

// objects is what the API server holds, as far as routes depend on it.
type objects struct {
	classes   []*networking.IngressClass
	ingresses []*networking.Ingress
	services  []*core.Service
	slices    []*discovery.EndpointSlice
}

// table says where a request goes. It is never changed, only replaced by a new one.
type table struct {
	// hosts are the rules' hosts in lower case: names, wildcards such as *.example.com, and "" for
	// rules without a host.
	hosts map[string]*virtualHost
	// conflicts has a line for each path that an older Ingress has already.
	conflicts []string
	// own are the Ingresses that belong to this controller.
	own []*networking.Ingress
}

type virtualHost struct {
	// routes are in the order in which they are tried.
	routes []route
	// tls is true when an Ingress lists the host in spec.tls, secret is that entry's Secret, as
	// namespace/name, or empty.
	tls    bool
	secret string
}

// matchKind is how a route's path is compared; smaller ones are tried first.
type matchKind int

const (
	matchExact matchKind = iota
	matchPrefix
	// matchFallback is spec.defaultBackend: whatever no path of the host matches.
	matchFallback
)

type route struct {
	kind matchKind
	// path has no trailing slash when the kind is matchPrefix.
	path string
	// ingress is who wants this route, as namespace/name.
	ingress string
	backend *backend
}

// backend is one port of one Service.
type backend struct {
	// name is namespace/service:port, with the port as the Ingress names it.
	name string
	// endpoints are the addresses that are ready, as ip:port.
	endpoints []string
	// problem says why there are none.
	problem string
}

// buildTable makes the table that these objects ask for.
func buildTable(from objects) *table {
	t := &table{hosts: map[string]*virtualHost{}}
	own := ownClasses(from.classes)
	for _, ingress := range from.ingresses {
		if own.claims(ingress) {
			t.own = append(t.own, ingress)
		}
	}
	// The oldest Ingress keeps what it has, whoever else claims it later.
	slices.SortFunc(t.own, func(a, b *networking.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	resolver := newResolver(from)
	for _, ingress := range t.own {
		t.add(ingress, resolver)
	}
	for _, host := range t.hosts {
		slices.SortStableFunc(host.routes, func(a, b route) int {
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(len(b.path), len(a.path)))
		})
	}
	return t
}

// find returns the rules for a host: its own, or the wildcard's, or those without a host.
func (t *table) find(host string) *virtualHost {
	if found := t.hosts[host]; found != nil {
		return found
	}
	// One level only: *.example.com is not for a.b.example.com.
	if _, parent, found := strings.Cut(host, "."); found {
		if found := t.hosts["*."+parent]; found != nil {
			return found
		}
	}
	return t.hosts[""]
}

// match returns the backend for a path, nil if the host has none.
func (h *virtualHost) match(requested string) *backend {
	requested = cleanPath(requested)
	for _, route := range h.routes {
		if route.matches(requested) {
			return route.backend
		}
	}
	return nil
}

func (r route) matches(requested string) bool {
	switch r.kind {
	case matchExact:
		return requested == r.path
	case matchPrefix:
		rest, found := strings.CutPrefix(requested, r.path)
		// By path elements: /shop is not for /shopping.
		return found && (rest == "" || rest[0] == '/')
	default:
		return true
	}
}

func (t *table) add(ingress *networking.Ingress, resolver *resolver) {
	who := ingress.Namespace + "/" + ingress.Name
	var fallback *backend
	if ingress.Spec.DefaultBackend != nil {
		fallback = resolver.resolve(ingress.Namespace, ingress.Spec.DefaultBackend)
	}
	rules := ingress.Spec.Rules
	if len(rules) == 0 && fallback != nil {
		rules = []networking.IngressRule{{}}
	}
	for _, rule := range rules {
		name := strings.ToLower(rule.Host)
		host := t.hosts[name]
		if host == nil {
			host = &virtualHost{}
			t.hosts[name] = host
		}
		host.addTLS(ingress, name)
		if rule.HTTP != nil {
			for _, path := range rule.HTTP.Paths {
				t.addRoute(name, pathRoute(path, who, resolver.resolve(ingress.Namespace, &path.Backend)))
			}
		}
		if fallback != nil {
			t.addRoute(name, route{kind: matchFallback, ingress: who, backend: fallback})
		}
	}
}

func (t *table) addRoute(name string, added route) {
	host := t.hosts[name]
	for _, present := range host.routes {
		if present.kind != added.kind || present.path != added.path {
			continue
		}
		if present.ingress != added.ingress {
			t.conflicts = append(t.conflicts, fmt.Sprintf("Ingress %s does not get host %q path %q: the older %s has it",
				added.ingress, name, added.path, present.ingress))
		}
		return
	}
	host.routes = append(host.routes, added)
}

func pathRoute(path networking.HTTPIngressPath, who string, backend *backend) route {
	if path.PathType != nil && *path.PathType == networking.PathTypeExact {
		return route{kind: matchExact, path: path.Path, ingress: who, backend: backend}
	}
	return route{kind: matchPrefix, path: strings.TrimRight(path.Path, "/"), ingress: who, backend: backend}
}

// addTLS takes the first entry of spec.tls that covers the host, from the oldest Ingress that has one.
func (h *virtualHost) addTLS(ingress *networking.Ingress, name string) {
	for _, entry := range ingress.Spec.TLS {
		if h.tls || !coversHost(entry.Hosts, name) {
			continue
		}
		h.tls = true
		if entry.SecretName != "" {
			h.secret = ingress.Namespace + "/" + entry.SecretName
		}
	}
}

// coversHost is true for an entry without hosts: it means those of the Ingress's rules.
func coversHost(hosts []string, name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	return len(hosts) == 0 || slices.ContainsFunc(hosts, func(host string) bool {
		host = strings.ToLower(host)
		return host == name || parent != "" && host == "*."+parent
	})
}

// classes are the names of this controller's IngressClasses.
type classes struct {
	names map[string]bool
	// byDefault is true when one of them is the cluster's default class.
	byDefault bool
}

func ownClasses(all []*networking.IngressClass) classes {
	own := classes{names: map[string]bool{}}
	for _, class := range all {
		if class.Spec.Controller != controllerName {
			continue
		}
		own.names[class.Name] = true
		own.byDefault = own.byDefault || class.Annotations[networking.AnnotationIsDefaultIngressClass] == "true"
	}
	return own
}

// claims also honours the annotation that came before spec.ingressClassName, as many charts still
// write it.
func (c classes) claims(ingress *networking.Ingress) bool {
	if ingress.Spec.IngressClassName != nil {
		return c.names[*ingress.Spec.IngressClassName]
	}
	if name, found := ingress.Annotations["kubernetes.io/ingress.class"]; found {
		return c.names[name]
	}
	return c.byDefault
}

// resolver finds the endpoints of Services.
type resolver struct {
	services map[string]*core.Service
	// slices are by Service, as namespace/name.
	slices map[string][]*discovery.EndpointSlice
}

func newResolver(from objects) *resolver {
	r := &resolver{services: map[string]*core.Service{}, slices: map[string][]*discovery.EndpointSlice{}}
	for _, service := range from.services {
		r.services[service.Namespace+"/"+service.Name] = service
	}
	for _, slice := range from.slices {
		name := slice.Namespace + "/" + slice.Labels[discovery.LabelServiceName]
		r.slices[name] = append(r.slices[name], slice)
	}
	return r
}

func (r *resolver) resolve(namespace string, wanted *networking.IngressBackend) *backend {
	if wanted.Service == nil {
		return &backend{name: namespace + "/?", problem: "backends other than Services are not served here"}
	}
	port := cmp.Or(wanted.Service.Port.Name, strconv.Itoa(int(wanted.Service.Port.Number)))
	key := namespace + "/" + wanted.Service.Name
	b := &backend{name: key + ":" + port}
	service := r.services[key]
	switch {
	case service == nil:
		b.problem = "the Service does not exist"
		return b
	case service.Spec.Type == core.ServiceTypeExternalName:
		b.problem = "Services of type ExternalName are not served here"
		return b
	}
	name, found := portName(service, wanted.Service.Port)
	if !found {
		b.problem = "the Service has no such port"
		return b
	}
	for _, slice := range r.slices[key] {
		b.endpoints = append(b.endpoints, readyAddresses(slice, name)...)
	}
	// An endpoint can be in two slices while it moves from one to the other.
	slices.Sort(b.endpoints)
	b.endpoints = slices.Compact(b.endpoints)
	if len(b.endpoints) == 0 {
		b.problem = "no endpoint is ready"
	}
	return b
}

// portName returns the name under which the Service's EndpointSlices have the port.
func portName(service *core.Service, wanted networking.ServiceBackendPort) (string, bool) {
	for _, port := range service.Spec.Ports {
		if wanted.Name != "" && port.Name == wanted.Name || wanted.Name == "" && port.Port == wanted.Number {
			return port.Name, true
		}
	}
	return "", false
}

func readyAddresses(slice *discovery.EndpointSlice, name string) []string {
	if slice.AddressType == discovery.AddressTypeFQDN {
		return nil
	}
	var addresses []string
	for _, port := range slice.Ports {
		if port.Port == nil || value(port.Name, "") != name || value(port.Protocol, core.ProtocolTCP) != core.ProtocolTCP {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			// A pod that is going counts as ready when its Service publishes addresses that are not.
			if !value(endpoint.Conditions.Ready, true) || value(endpoint.Conditions.Terminating, false) {
				continue
			}
			for _, address := range endpoint.Addresses {
				addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return addresses
}

func value[T any](pointer *T, otherwise T) T {
	if pointer == nil {
		return otherwise
	}
	return *pointer
}

// hostName makes a Host header or a server name comparable: lower case, no port, no dot at the end.
func hostName(given string) string {
	if name, _, err := net.SplitHostPort(given); err == nil {
		given = name
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(given, "[]")), ".")
}

// cleanPath resolves dots and double slashes as nginx does before it chooses: a path must not get past
// a rule by being written in another way. The upstream gets the path as it was written.
func cleanPath(requested string) string {
	cleaned := path.Clean("/" + requested)
	if strings.HasSuffix(requested, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}
