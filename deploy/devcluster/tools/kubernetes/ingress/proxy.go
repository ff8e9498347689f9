package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// serverName is the Server header of answers that are the controller's own, not an upstream's.
const serverName = "devcluster-ingress"

const (
	dialTimeout           = 2 * time.Second
	responseHeaderTimeout = 60 * time.Second
	// maxAttempts bounds how long a request can wait for endpoints that don't answer.
	maxAttempts = 3
	// statusClientGone is nginx's number for a client that did not wait; nobody gets to see it but
	// the log.
	statusClientGone = 499
)

// proxy is the handler of both addresses.
type proxy struct {
	table *atomic.Pointer[table]
	// httpsPort is where plain requests for hosts with TLS are sent; empty without a TLS address.
	httpsPort string
	// logRequests writes one line per request.
	logRequests bool
	reverse     *httputil.ReverseProxy
}

func newProxy(current *atomic.Pointer[table], httpsPort string, logRequests bool) *proxy {
	return &proxy{
		table:       current,
		httpsPort:   httpsPort,
		logRequests: logRequests,
		reverse: &httputil.ReverseProxy{
			Rewrite:      rewrite,
			Transport:    &balancer{transport: newTransport(dialTimeout, responseHeaderTimeout)},
			ErrorHandler: upstreamFailed,
			ErrorLog:     quietLog(),
		},
	}
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.logRequests {
		p.serve(w, r)
		return
	}
	// An upgrade is the only answer that is not written through the recorder.
	began, recorder := time.Now(), &recorder{ResponseWriter: w, status: http.StatusSwitchingProtocols}
	// Deferred, as a response that breaks off ends in a panic.
	defer func() {
		klog.InfoS("request", "method", r.Method, "host", r.Host, "path", r.URL.Path, "status", recorder.status,
			"duration_ms", time.Since(began).Milliseconds())
	}()
	p.serve(recorder, r)
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	host := hostName(r.Host)
	if r.Method == http.MethodConnect {
		answer(w, http.StatusMethodNotAllowed, "host %s: CONNECT is not served", host)
		return
	}
	found := p.table.Load().find(host)
	if found == nil {
		answer(w, http.StatusNotFound, "no Ingress has the host %s", host)
		return
	}
	if found.tls && r.TLS == nil && p.httpsPort != "" {
		w.Header().Set("Location", "https://"+withPort(host, p.httpsPort)+r.URL.RequestURI())
		answer(w, http.StatusPermanentRedirect, "host %s: use https", host)
		return
	}
	backend := found.match(r.URL.Path)
	switch {
	case backend == nil:
		answer(w, http.StatusNotFound, "no Ingress with the host %s has the path %s", host, r.URL.EscapedPath())
	case len(backend.endpoints) == 0:
		answer(w, http.StatusServiceUnavailable, "host %s, Service %s: %s", host, backend.name, backend.problem)
	default:
		p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), backendKey{}, backend)))
	}
}

// backendKey is under which a request's context holds its *backend.
type backendKey struct{}

func withPort(host, port string) string {
	if port != "443" {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func answer(w http.ResponseWriter, status int, format string, arguments ...any) {
	header := w.Header()
	header.Set("Server", serverName)
	header.Set("Content-Type", "text/plain; charset=utf-8")
	// The text repeats what the client sent.
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%d %s: %s\n", status, http.StatusText(status), fmt.Sprintf(format, arguments...))
}

// rewrite tells the upstream who asks. What a client says about itself in these headers is dropped:
// an upstream that trusts the controller must not read a stranger's words as the controller's.
func rewrite(r *httputil.ProxyRequest) {
	for name := range r.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			r.Out.Header.Del(name)
		}
	}
	r.SetXForwarded()
	r.Out.Header.Set("X-Real-Ip", r.Out.Header.Get("X-Forwarded-For"))
	r.Out.URL.Scheme = "http"
	// As it came: the reverse proxy would drop parameters that Go can't parse.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
}

func upstreamFailed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		w.WriteHeader(statusClientGone)
		return
	}
	status := http.StatusBadGateway
	if timedOut(err) {
		status = http.StatusGatewayTimeout
	}
	answer(w, status, "host %s, Service %s: %v", hostName(r.Host), backendOf(r).name, err)
}

func backendOf(r *http.Request) *backend {
	// Only serve sends requests here, and it always sets one.
	return r.Context().Value(backendKey{}).(*backend)
}

func timedOut(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}

func newTransport(dial, header time.Duration) *http.Transport {
	return &http.Transport{
		// No proxy from the environment: endpoints are next door.
		Proxy:                 nil,
		DialContext:           (&net.Dialer{Timeout: dial}).DialContext,
		ResponseHeaderTimeout: header,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   64,
		// Below the 5 s after which Node.js closes an idle connection: a POST that is on its way at
		// that moment would fail and could not be repeated.
		IdleConnTimeout: 4 * time.Second,
		// Whether a body is compressed is between client and upstream.
		DisableCompression: true,
	}
}

// balancer sends each request to the next endpoint of its backend.
type balancer struct {
	transport http.RoundTripper
	// turns counts requests by backend name. It outlives the tables, which change with every pod.
	turns sync.Map
}

func (b *balancer) RoundTrip(request *http.Request) (*http.Response, error) {
	backend := backendOf(request)
	turn := b.turn(backend.name)
	attempts := min(len(backend.endpoints), maxAttempts)
	for attempt := 1; ; attempt++ {
		endpoint := backend.endpoints[(turn+uint64(attempt))%uint64(len(backend.endpoints))]
		response, err := b.transport.RoundTrip(toEndpoint(request, endpoint))
		if err == nil || attempt == attempts || !repeatable(request, err) {
			return response, err
		}
	}
}

func (b *balancer) turn(name string) uint64 {
	counter, _ := b.turns.LoadOrStore(name, new(atomic.Uint64))
	return counter.(*atomic.Uint64).Add(1)
}

func toEndpoint(request *http.Request, endpoint string) *http.Request {
	sent := request.WithContext(request.Context())
	address := *request.URL
	address.Host = endpoint
	sent.URL = &address
	if request.Body != nil {
		// The transport closes the body when it can't connect, but the next attempt needs it. The
		// reverse proxy closes the real one.
		sent.Body = io.NopCloser(request.Body)
	}
	return sent
}

// repeatable is true when the endpoint can't have acted on the request, or when acting twice is no
// harm. After a timeout of the answer the client has waited long enough.
func repeatable(request *http.Request, err error) bool {
	if request.Context().Err() != nil {
		return false
	}
	var failure *net.OpError
	if errors.As(err, &failure) && failure.Op == "dial" {
		return true
	}
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return request.Body == nil && !timedOut(err)
	default:
		return false
	}
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is how the reverse proxy flushes and takes over connections.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// quietLog takes what net/http has to say about single connections, such as failed handshakes; it
// shows with the requests' log only.
func quietLog() *log.Logger {
	return log.New(verboseWriter{}, "", 0)
}

type verboseWriter struct{}

func (verboseWriter) Write(line []byte) (int, error) {
	klog.V(1).Info(strings.TrimSpace(string(line)))
	return len(line), nil
}
