package ingress

import (
	"os"
	"strings"
	"testing"
)

func TestTheIngressClassNamesThisController(t *testing.T) {
	content, err := os.ReadFile("../../../manifests/ingress.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), "\n  controller: "+controllerName+"\n") {
		t.Errorf("manifests/ingress.yaml does not name %s", controllerName)
	}
}
