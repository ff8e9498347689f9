package main

import (
	"slices"
	"strings"
	"testing"
)

func TestTheIngressControllerPublishesTheAddressItServes(t *testing.T) {
	component := ingressComponent("/f", binaries{kubernetes: "/k"}, map[string]int{ingressName: 7}, "127.0.0.2:80")
	want := []string{"ingress-controller", "--kubeconfig=/f/pki/ingress-controller.kubeconfig", "--address=127.0.0.2:80",
		"--health-address=127.0.0.1:7", "--status-ip=127.0.0.2"}
	if component.name != ingressName || component.port != 7 || component.health != "http://127.0.0.1:7/healthz" || !slices.Equal(component.arguments, want) {
		t.Errorf("got %+v", component)
	}
}

func TestTheIngressManifestsNameWhoTheControllerIs(t *testing.T) {
	content := manifest("ingress.yaml")
	for document := range strings.SplitSeq(content, "\n---\n") {
		if _, err := manifestPath(document); err != nil {
			t.Error(err)
		}
	}
	if who := identities[ingressName].user; who == "" || !strings.Contains(content, "\n  kind: User\n  name: "+who+"\n") {
		t.Errorf("no binding for the user %q", who)
	}
}
