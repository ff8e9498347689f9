package ingress

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// seenPatch is a request as it came over the wire.
type seenPatch struct {
	method, path, query, contentType string
	body                             map[string]any
}

// fakeAPI answers the first requests with the given statuses, the rest with 200.
func fakeAPI(t *testing.T, statuses ...int) (kubernetes.Interface, chan seenPatch) {
	t.Helper()
	seen := make(chan seenPatch, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		patch := seenPatch{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, contentType: r.Header.Get("Content-Type")}
		content, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(content, &patch.body)
		status := http.StatusOK
		if len(statuses) > 0 {
			status, statuses = statuses[0], statuses[1:]
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status == http.StatusOK {
			_, _ = io.WriteString(w, `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress"}`)
		} else {
			_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status,
				"reason": map[int]string{409: "Conflict", 404: "NotFound"}[status]})
		}
		seen <- patch
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return client, seen
}

func next(t *testing.T, seen chan seenPatch) seenPatch {
	t.Helper()
	select {
	case patch := <-seen:
		return patch
	case <-time.After(10 * time.Second):
		t.Fatal("no request within 10 s")
		return seenPatch{}
	}
}

func TestTheAddressIsWrittenOnceAndAgainAfterAConflict(t *testing.T) {
	client, seen := fakeAPI(t, 409, 200)
	fresh := newIngress("shop", 0)
	fresh.UID, fresh.ResourceVersion = "u", "7"
	done := newIngress("done", 0)
	done.Status.LoadBalancer.Ingress = []networking.IngressLoadBalancerIngress{{IP: "127.0.0.1"}}
	publisher := newPublisher(client, "127.0.0.1", func(types.NamespacedName) *networking.Ingress { return fresh })
	go publisher.run(t.Context())
	publisher.enqueue([]*networking.Ingress{done, fresh})
	next(t, seen)
	patch := next(t, seen)
	if patch.method != "PATCH" || patch.path != "/apis/networking.k8s.io/v1/namespaces/demo/ingresses/shop/status" ||
		patch.query != "fieldManager=devcluster-ingress" || patch.contentType != "application/merge-patch+json" {
		t.Errorf("got %+v", patch)
	}
	body, _ := json.Marshal(patch.body)
	if want := `{"metadata":{"resourceVersion":"7","uid":"u"},"status":{"loadBalancer":{"ingress":[{"ip":"127.0.0.1"}]}}}`; string(body) != want {
		t.Errorf("body %s", body)
	}
	select {
	case patch := <-seen:
		t.Errorf("another request: %+v", patch)
	case <-time.After(200 * time.Millisecond):
	}
}

func TestAnIngressThatIsGoneNeedsNoStatus(t *testing.T) {
	client, seen := fakeAPI(t, 404)
	publisher := newPublisher(client, "127.0.0.1", func(types.NamespacedName) *networking.Ingress { return newIngress("shop", 0) })
	if err := publisher.publish(t.Context(), types.NamespacedName{Namespace: namespace, Name: "shop"}); err != nil {
		t.Error(err)
	}
	next(t, seen)
}
