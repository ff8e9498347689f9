package main

import "net"

// ingressName is the ingress controller's component, and the port of its health endpoint.
const ingressName = "ingress-controller"

// ingressComponent serves the cluster's Ingresses on an address (ip:port) of the host. Clients are sent
// to that address's IP, so it can't be a wildcard.
func ingressComponent(folder string, binaries binaries, ports map[string]int, address string) component {
	ip, _, err := net.SplitHostPort(address)
	if err != nil {
		// The controller says what it wants instead.
		ip = address
	}
	return component{
		name:   ingressName,
		path:   binaries.kubernetes,
		port:   ports[ingressName],
		health: "http://" + loopback(ports[ingressName]) + "/healthz",
		arguments: []string{"ingress-controller",
			"--kubeconfig=" + componentKubeconfig(folder, ingressName),
			"--address=" + address,
			"--health-address=" + loopback(ports[ingressName]),
			"--status-ip=" + ip,
		},
	}
}
