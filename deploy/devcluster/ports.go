package main

import (
	"fmt"
	"io"
	"net"
	"time"
)

// freePorts returns ports that nothing listened on at the time. All are held until the last is found,
// so none comes twice. Another process can still take one before its component does; the start is
// then repeated with other ports.
func freePorts(names []string) (map[string]int, error) {
	ports := map[string]int{}
	for _, name := range names {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port for %s: %w", name, err)
		}
		defer listener.Close()
		ports[name] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// ingressPort is one that needs no number in a URL.
const ingressPort = 80

// claimIngress returns the wanted address if it is free, and without a wish the first loopback address
// whose port 80 is: with ports of their own, several clusters would have unstable URLs. Clusters that
// start at the same time see each other's claims.
func claimIngress(wanted string) (string, io.Closer, error) {
	candidates := []string{wanted}
	if wanted == "" {
		candidates = nil
		for last := 1; last <= 9; last++ {
			candidates = append(candidates, fmt.Sprintf("127.0.0.%d:%d", last, ingressPort))
		}
	}
	var failure error
	for _, address := range candidates {
		claim, err := claimName("ingress-" + address)
		if err != nil {
			failure = err
			continue
		}
		listener, err := net.Listen("tcp4", address)
		if err == nil {
			listener.Close()
			return address, claim, nil
		}
		claim.Close()
		failure = err
	}
	return "", nil, fmt.Errorf("no address for the ingress controller, choose one by --ingress-address: %w", failure)
}

// claimName claims something for as long as this process lives, however it ends: the name is one of the
// kernel's own sockets, which leave no file.
func claimName(name string) (io.Closer, error) {
	claim, err := net.Listen("unix", "@storekeeper-devcluster-"+name)
	if err != nil {
		return nil, fmt.Errorf("another cluster has claimed %s: %w", name, err)
	}
	return claim, nil
}

func loopback(port int) string {
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func isListening(port int) bool {
	connection, err := net.DialTimeout("tcp4", loopback(port), 200*time.Millisecond)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}
