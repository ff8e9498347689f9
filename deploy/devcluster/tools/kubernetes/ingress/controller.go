// Package ingress is the ingress controller of clusters with a real node: a stand-in for Traefik or
// ingress-nginx, good enough for tests and a demo. It runs outside the cluster and sends requests
// straight to the pods.
//
// A package of its own, so that its tests compile without Kubernetes.
package ingress

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// controllerName is what the IngressClass in deploy/devcluster/manifests/ingress.yaml names.
const controllerName = "devcluster.storekeeper.dev/ingress"

const (
	// maxHeaderBytes is what nginx takes by default: four buffers of 8 KiB.
	maxHeaderBytes    = 32 << 10
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 75 * time.Second
	// drainTimeout is how long requests may go on after a signal.
	drainTimeout = 5 * time.Second
)

type options struct {
	kubeconfig    string
	address       string
	tlsAddress    string
	healthAddress string
	statusIP      string
	verbose       bool
}

// Run is the program. It returns the exit code: 0 after a signal, 1 failed, 2 wrong usage.
func Run(arguments []string) int {
	var o options
	flags := flag.NewFlagSet("ingress-controller", flag.ExitOnError)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the controller's identity")
	flags.StringVar(&o.address, "address", "", "ip:port to serve http on")
	flags.StringVar(&o.tlsAddress, "tls-address", "", "ip:port to serve https on; without it all hosts are served over http")
	flags.StringVar(&o.healthAddress, "health-address", "", "ip:port to serve /healthz on")
	flags.StringVar(&o.statusIP, "status-ip", "", "address to write into the Ingresses' status")
	flags.BoolVar(&o.verbose, "v", false, "log every request")
	_ = flags.Parse(arguments)
	if _, err := netip.ParseAddr(o.statusIP); err != nil || o.kubeconfig == "" || o.address == "" || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "ingress-controller: --kubeconfig, --address and an IP address as --status-ip are required")
		return 2
	}
	if err := runUntilSignal(o); err != nil {
		fmt.Fprintln(os.Stderr, "ingress-controller:", err)
		return 1
	}
	return 0
}

func runUntilSignal(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if o.verbose {
		// net/http's complaints about single connections are at this level.
		var level klog.Level
		if err := level.Set("1"); err != nil {
			return err
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	// The client's default of 5 requests a second would make a fleet of stores wait for its status.
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// Before anything else, so that a taken port is the first thing to be said. Connections wait in
	// the kernel until the routes are known.
	servers, err := listen(o)
	if err != nil {
		return err
	}
	defer servers.close()
	return newController(client, o).run(ctx, o, servers)
}

// listeners are the sockets; tls and health are nil when there is no address for them.
type listeners struct {
	plain, tls, health net.Listener
}

func listen(o options) (*listeners, error) {
	l := &listeners{}
	for _, wanted := range []struct {
		address string
		into    *net.Listener
	}{{o.address, &l.plain}, {o.tlsAddress, &l.tls}, {o.healthAddress, &l.health}} {
		if wanted.address == "" {
			continue
		}
		var err error
		if *wanted.into, err = net.Listen("tcp", wanted.address); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *listeners) close() {
	for _, listener := range []net.Listener{l.plain, l.tls, l.health} {
		if listener != nil {
			listener.Close()
		}
	}
}

// controller keeps the table up to date.
type controller struct {
	current atomic.Pointer[table]
	// changed holds at most one notice: many events at once are one new table.
	changed   chan struct{}
	publisher *publisher

	factories []informers.SharedInformerFactory
	classes   networkinglisters.IngressClassLister
	ingresses networkinglisters.IngressLister
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	// secrets is nil without a TLS address: what is not needed is not read.
	secrets corelisters.SecretLister
}

func newController(client kubernetes.Interface, o options) *controller {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(withoutManagedFields))
	c := &controller{
		changed:   make(chan struct{}, 1),
		factories: []informers.SharedInformerFactory{factory},
		classes:   factory.Networking().V1().IngressClasses().Lister(),
		ingresses: factory.Networking().V1().Ingresses().Lister(),
		services:  factory.Core().V1().Services().Lister(),
		slices:    factory.Discovery().V1().EndpointSlices().Lister(),
	}
	c.publisher = newPublisher(client, o.statusIP, c.ownIngress)
	for _, informer := range []cache.SharedIndexInformer{
		factory.Networking().V1().IngressClasses().Informer(),
		factory.Networking().V1().Ingresses().Informer(),
		factory.Core().V1().Services().Informer(),
		factory.Discovery().V1().EndpointSlices().Informer(),
	} {
		// Fails only for an informer that has ended.
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { c.notice() },
			UpdateFunc: func(_, _ any) { c.notice() },
			DeleteFunc: func(any) { c.notice() },
		})
	}
	if o.tlsAddress != "" {
		// No handler: handshakes look Secrets up when they need them.
		secrets := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(withoutManagedFields),
			informers.WithTweakListOptions(func(list *metav1.ListOptions) {
				list.FieldSelector = "type=" + string(core.SecretTypeTLS)
			}))
		c.secrets = secrets.Core().V1().Secrets().Lister()
		c.factories = append(c.factories, secrets)
	}
	return c
}

// run serves until the context ends, which is no failure, or a server fails.
func (c *controller) run(asked context.Context, o options, sockets *listeners) error {
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	var ready atomic.Bool
	if sockets.health != nil {
		go serveHealth(sockets.health, &ready, cancel)
	}
	err := c.sync(ctx)
	if err == nil {
		err = c.serveUntilDone(ctx, o, sockets, &ready, cancel)
	}
	if asked.Err() != nil {
		return nil
	}
	return err
}

func (c *controller) serveUntilDone(ctx context.Context, o options, sockets *listeners, ready *atomic.Bool, cancel context.CancelCauseFunc) error {
	c.rebuild()
	servers, err := c.serve(o, sockets, cancel)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	background.Go(func() { c.rebuildOnNotice(ctx) })
	background.Go(func() { c.publisher.run(ctx) })
	ready.Store(true)
	klog.InfoS("serving", "address", o.address, "tls_address", o.tlsAddress, "hosts", len(c.current.Load().hosts))
	<-ctx.Done()
	ready.Store(false)
	drain(servers)
	background.Wait()
	return context.Cause(ctx)
}

// sync waits until the caches hold what the API server has.
func (c *controller) sync(ctx context.Context) error {
	for _, factory := range c.factories {
		factory.Start(ctx.Done())
	}
	for _, factory := range c.factories {
		for kind, done := range factory.WaitForCacheSync(ctx.Done()) {
			if !done {
				return fmt.Errorf("read all %v: %w", kind, context.Cause(ctx))
			}
		}
	}
	return nil
}

func (c *controller) notice() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *controller) rebuildOnNotice(ctx context.Context) {
	for {
		select {
		case <-c.changed:
			c.rebuild()
		case <-ctx.Done():
			return
		}
	}
}

func (c *controller) rebuild() {
	fresh := buildTable(c.objects())
	before := c.current.Swap(fresh)
	for _, conflict := range fresh.conflicts {
		if before == nil || !slices.Contains(before.conflicts, conflict) {
			klog.Warning(conflict)
		}
	}
	c.publisher.enqueue(fresh.own)
}

// objects reads the caches. A lister over a whole cache can't fail.
func (c *controller) objects() objects {
	var from objects
	everything := labels.Everything()
	from.classes, _ = c.classes.List(everything)
	from.ingresses, _ = c.ingresses.List(everything)
	from.services, _ = c.services.List(everything)
	from.slices, _ = c.slices.List(everything)
	return from
}

func (c *controller) ownIngress(name types.NamespacedName) *networking.Ingress {
	ingress, err := c.ingresses.Ingresses(name.Namespace).Get(name.Name)
	if err != nil {
		return nil
	}
	all, _ := c.classes.List(labels.Everything())
	if !ownClasses(all).claims(ingress) {
		return nil
	}
	return ingress
}

func (c *controller) secret(key string) *core.Secret {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil
	}
	secret, err := c.secrets.Secrets(namespace).Get(name)
	if err != nil {
		return nil
	}
	return secret
}

// serve starts the servers on the sockets.
func (c *controller) serve(o options, sockets *listeners, cancel context.CancelCauseFunc) ([]*http.Server, error) {
	httpsPort := ""
	var encryption *tls.Config
	if sockets.tls != nil {
		certificates, err := newCertificates(&c.current, c.secret)
		if err != nil {
			return nil, fmt.Errorf("make the fallback certificate: %w", err)
		}
		encryption = certificates.config()
		_, httpsPort, _ = net.SplitHostPort(sockets.tls.Addr().String())
	}
	handler := newProxy(&c.current, httpsPort, o.verbose)
	plain := newServer(handler)
	servers := []*http.Server{plain}
	go func() { cancel(plain.Serve(sockets.plain)) }()
	if encryption != nil {
		encrypted := newServer(handler)
		encrypted.TLSConfig = encryption
		servers = append(servers, encrypted)
		go func() { cancel(encrypted.ServeTLS(sockets.tls, "", "")) }()
	}
	return servers, nil
}

// newServer has no limit for a whole request or answer: uploads and event streams take their time.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          quietLog(),
	}
}

func drain(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var group sync.WaitGroup
	for _, server := range servers {
		group.Go(func() {
			if server.Shutdown(ctx) != nil {
				server.Close()
			}
		})
	}
	group.Wait()
}

func serveHealth(socket net.Listener, ready *atomic.Bool, cancel context.CancelCauseFunc) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	cancel(newServer(mux).Serve(socket))
}

// withoutManagedFields drops what is often the larger half of an object and is never read here.
func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}
