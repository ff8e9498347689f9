package main

import (
	"fmt"
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

// ingressAddress returns the wanted address if it is free, and without a wish the first loopback address
// whose port 80 is: with a port of its own each, several clusters would have unstable URLs.
func ingressAddress(wanted string) (string, error) {
	candidates := []string{wanted}
	if wanted == "" {
		candidates = nil
		for last := 1; last <= 9; last++ {
			candidates = append(candidates, fmt.Sprintf("127.0.0.%d:%d", last, ingressPort))
		}
	}
	var failure error
	for _, address := range candidates {
		listener, err := net.Listen("tcp4", address)
		if err == nil {
			return address, listener.Close()
		}
		failure = err
	}
	return "", fmt.Errorf("no address for the ingress controller, choose one by --ingress-address: %w", failure)
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
