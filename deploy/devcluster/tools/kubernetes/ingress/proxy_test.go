package ingress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// frontend is a proxy with one host, shop.test, and one backend with these endpoints.
func frontend(t *testing.T, endpoints ...string) *httptest.Server {
	t.Helper()
	return frontendFor(t, &table{hosts: map[string]*virtualHost{"shop.test": {routes: []route{{
		kind: matchPrefix, backend: &backend{name: "demo/shop:http", endpoints: endpoints, problem: "no endpoint is ready"},
	}}}}})
}

func frontendFor(t *testing.T, table *table) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(newProxy(holding(table), "", false))
	t.Cleanup(server.Close)
	return server
}

func holding(content *table) *atomic.Pointer[table] {
	current := new(atomic.Pointer[table])
	current.Store(content)
	return current
}

func upstream(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// closedPort is an endpoint whose pod went away a moment ago.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// breakingPort takes every request and closes the connection without an answer.
func breakingPort(t *testing.T, requests *atomic.Int64) string {
	return upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			connection.Close()
		}
	})
}

func request(t *testing.T, server *httptest.Server, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, server.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "shop.test"
	for index := 0; index < len(headers); index += 2 {
		r.Header.Add(headers[index], headers[index+1])
	}
	return r
}

func send(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(content)
}

func TestTheUpstreamLearnsWhoAsksFromTheControllerOnly(t *testing.T) {
	var seen *http.Request
	server := frontend(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) { seen = r }))
	send(t, request(t, server, "GET", "/a%2Fb//c?x=1;y=%zz", "",
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "7.7.7.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil",
		"X-Forwarded-Port", "1", "X-Real-Ip", "6.6.6.6", "Forwarded", "for=6.6.6.6", "Connection", "X-Forwarded-For", "Cookie", "a=b"))
	if seen.Host != "shop.test" || seen.RequestURI != "/a%2Fb//c?x=1;y=%zz" {
		t.Errorf("host %s, request %s", seen.Host, seen.RequestURI)
	}
	for name, want := range map[string][]string{
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"shop.test"}, "X-Forwarded-Port": nil,
		"X-Real-Ip": {"127.0.0.1"}, "Forwarded": nil, "Cookie": {"a=b"}, "Accept-Encoding": {"gzip"},
	} {
		if got := seen.Header.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestUnknownHostsPathsAndServicesWithoutEndpointsAreSaidPlainly(t *testing.T) {
	server := frontendFor(t, &table{hosts: map[string]*virtualHost{"shop.test": {routes: []route{
		{kind: matchExact, path: "/shop", backend: &backend{name: "demo/shop:http", problem: "no endpoint is ready"}},
	}}}})
	unknown := request(t, server, "GET", "/shop", "")
	unknown.Host = "Other.test:81"
	for _, c := range []struct {
		request *http.Request
		status  int
		body    string
	}{
		{unknown, 404, "404 Not Found: no Ingress has the host other.test\n"},
		{request(t, server, "GET", "/", ""), 404, "404 Not Found: no Ingress with the host shop.test has the path /\n"},
		{request(t, server, "POST", "/shop", "x"), 503, "503 Service Unavailable: host shop.test, Service demo/shop:http: no endpoint is ready\n"},
	} {
		response, body := send(t, c.request)
		if response.StatusCode != c.status || body != c.body || response.Header.Get("Server") != "devcluster-ingress" {
			t.Errorf("%d %q %v", response.StatusCode, body, response.Header)
		}
	}
}

func TestRequestsTakeTurns(t *testing.T) {
	var counts [3]atomic.Int64
	var endpoints []string
	for index := range counts {
		endpoints = append(endpoints, upstream(t, func(http.ResponseWriter, *http.Request) { counts[index].Add(1) }))
	}
	server := frontend(t, endpoints...)
	for range 9 {
		send(t, request(t, server, "GET", "/", ""))
	}
	for index := range counts {
		if counts[index].Load() != 3 {
			t.Errorf("endpoint %d got %d of 9 requests", index, counts[index].Load())
		}
	}
}

func TestAnotherEndpointIsAskedWhenOneDoesNotListen(t *testing.T) {
	live := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	server := frontend(t, closedPort(t), live)
	for range 4 {
		// A POST too: nothing of it was sent.
		for _, method := range []string{"GET", "POST"} {
			if response, body := send(t, request(t, server, method, "/", "content")); response.StatusCode != 200 || body != "content" {
				t.Errorf("%s: %d %q", method, response.StatusCode, body)
			}
		}
	}
}

func TestWhatAnEndpointMayHaveDoneIsNotDoneAgain(t *testing.T) {
	var broken atomic.Int64
	live := upstream(t, func(http.ResponseWriter, *http.Request) {})
	server := frontend(t, breakingPort(t, &broken), live)
	var failed int
	for range 4 {
		if response, _ := send(t, request(t, server, "GET", "/", "")); response.StatusCode != 200 {
			t.Errorf("GET: %d", response.StatusCode)
		}
	}
	seen := broken.Load()
	// Without a body too: an order can be placed without one.
	for _, body := range []string{"order", "order", "", ""} {
		if response, _ := send(t, request(t, server, "POST", "/", body)); response.StatusCode == 502 {
			failed++
		}
	}
	if seen == 0 || failed != 2 || broken.Load() != seen+2 {
		t.Errorf("%d of 4 POST failed, the broken endpoint saw %d", failed, broken.Load()-seen)
	}
}

func TestUpstreamFailuresNameTheService(t *testing.T) {
	response, body := send(t, request(t, frontend(t, closedPort(t)), "GET", "/", ""))
	if response.StatusCode != 502 || !strings.Contains(body, "host shop.test, Service demo/shop:http: dial tcp 127.0.0.1:") || response.Header.Get("Server") != serverName {
		t.Errorf("%d %q", response.StatusCode, body)
	}

	release := make(chan struct{})
	var asked atomic.Int64
	slow := upstream(t, func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-release
	})
	defer close(release)
	impatient := newProxy(holding(&table{hosts: map[string]*virtualHost{"shop.test": {routes: []route{{
		kind: matchPrefix, backend: &backend{name: "demo/shop:http", endpoints: []string{slow, slow}},
	}}}}}), "", false)
	impatient.reverse.Transport = &balancer{transport: newTransport(time.Second, 50*time.Millisecond)}
	server := httptest.NewServer(impatient)
	defer server.Close()
	if response, body := send(t, request(t, server, "GET", "/", "")); response.StatusCode != 504 || !strings.Contains(body, "demo/shop:http") {
		t.Errorf("%d %q", response.StatusCode, body)
	}
	if asked.Load() != 1 {
		t.Errorf("a client waited for %d endpoints", asked.Load())
	}
}

func TestAnUpgradedConnectionCarriesBothDirections(t *testing.T) {
	endpoint := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		connection, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer connection.Close()
		fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := buffered.ReadString('\n')
		fmt.Fprintf(connection, "echo %s", line)
	})
	// With the log of requests, whose wrapper must not stand in the way.
	logging := newProxy(holding(frontendTable(endpoint)), "", true)
	server := httptest.NewServer(logging)
	defer server.Close()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(connection, "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != 101 || response.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("%+v, error %v", response, err)
	}
	fmt.Fprint(connection, "hello\n")
	if line, err := reader.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q, error %v", line, err)
	}
}

func frontendTable(endpoints ...string) *table {
	return &table{hosts: map[string]*virtualHost{"shop.test": {routes: []route{{
		kind: matchPrefix, backend: &backend{name: "demo/shop:http", endpoints: endpoints},
	}}}}}
}

func TestAnUploadReachesTheUpstreamWhileItLasts(t *testing.T) {
	arrived := make(chan string)
	server := frontend(t, upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			arrived <- lines.Text()
		}
	}))
	read, write := io.Pipe()
	r := request(t, server, "POST", "/", "")
	r.Body, r.ContentLength = read, -1
	done := make(chan struct{})
	go func() {
		defer close(done)
		send(t, r)
	}()
	for _, word := range []string{"first", "second"} {
		fmt.Fprintln(write, word)
		select {
		case line := <-arrived:
			if line != word {
				t.Errorf("%q arrived", line)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q did not arrive before the upload's end", word)
		}
	}
	write.Close()
	<-done
}

func TestAnAnswerReachesTheClientWhileItLasts(t *testing.T) {
	more := make(chan string, 1)
	server := frontend(t, upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		for word := range more {
			fmt.Fprintln(w, word)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	more <- "first"
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	response, err := server.Client().Do(request(t, server, "GET", "/", "").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); line != "first\n" {
		t.Errorf("%q, error %v", line, err)
	}
	// Written only after the first line was read.
	more <- "second"
	close(more)
	if line, err := lines.ReadString('\n'); line != "second\n" {
		t.Errorf("%q, error %v", line, err)
	}
}

func TestTooLargeHeadersAreRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(newProxy(holding(frontendTable(closedPort(t))), "", false))
	server.Start()
	defer server.Close()
	if response, _ := send(t, request(t, server, "GET", "/", "", "Cookie", strings.Repeat("x", 40<<10))); response.StatusCode != 431 {
		t.Errorf("status %d", response.StatusCode)
	}
}
