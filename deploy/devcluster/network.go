package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// maxRealNodes bounds the search for free networks.
const maxRealNodes = 200

// claimNetworks chooses networks that this machine has no address in and no route to, and that no
// other cluster has claimed.
func claimNetworks(supervisor process) (*realNode, io.Closer, error) {
	var last error
	for index := range maxRealNodes {
		claim, err := claimName(fmt.Sprintf("network-%d", index))
		if err != nil {
			last = err
			continue
		}
		node := newRealNode(index, supervisor)
		if last = node.networksFree(); last == nil {
			return node, claim, nil
		}
		claim.Close()
	}
	return nil, nil, fmt.Errorf("no free networks in 10.244.0.0/16 and 10.245.0.0/16: %w", last)
}

func (n *realNode) networksFree() error {
	wanted := []*net.IPNet{mustNetwork(n.Pods), mustNetwork(n.Host + "/30")}
	taken, err := hostNetworks()
	if err != nil {
		return err
	}
	for _, network := range taken {
		for _, own := range wanted {
			if network.Contains(own.IP) || own.Contains(network.IP) {
				return fmt.Errorf("%s is in use (%s)", own, network)
			}
		}
	}
	return nil
}

// hostNetworks are all networks that the host has a route to, except the default route.
func hostNetworks() ([]*net.IPNet, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var networks []*net.IPNet
	for _, address := range addresses {
		if network, is := address.(*net.IPNet); is && network.IP.To4() != nil {
			networks = append(networks, &net.IPNet{IP: network.IP.Mask(network.Mask), Mask: network.Mask})
		}
	}
	content, err := os.ReadFile("/proc/net/route")
	if errors.Is(err, os.ErrNotExist) {
		return networks, nil
	}
	if err != nil {
		return nil, err
	}
	return append(networks, parseRoutes(string(content))...), nil
}

// parseRoutes reads the kernel's table, whose addresses are hexadecimal numbers in the machine's own
// byte order: little-endian on all machines that this runs on.
func parseRoutes(table string) []*net.IPNet {
	var networks []*net.IPNet
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		var destination, mask uint32
		if len(fields) < 8 || fields[0] == "Iface" {
			continue
		}
		_, err := fmt.Sscanf(fields[1]+" "+fields[7], "%X %X", &destination, &mask)
		if err != nil || mask == 0 {
			continue
		}
		networks = append(networks, &net.IPNet{IP: littleEndian(destination), Mask: net.IPMask(littleEndian(mask))})
	}
	return networks
}

func littleEndian(value uint32) net.IP {
	return net.IP{byte(value), byte(value >> 8), byte(value >> 16), byte(value >> 24)}
}

func mustNetwork(cidr string) *net.IPNet {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err)
	}
	return network
}

// connect links the node's network with the host's, so that the host reaches the node and its pods,
// and the other way round the host's own address only: the node gets no default route. When the node's
// network namespace goes, the kernel removes both ends of the link and the route.
func (n *realNode) connect(first process) error {
	outside := []string{
		fmt.Sprintf("link add %s type veth peer name host netns %d", n.Interface, first.PID),
		fmt.Sprintf("address add %s/30 dev %s", n.Host, n.Interface),
		fmt.Sprintf("link set %s up", n.Interface),
	}
	inside := []string{
		"link set lo up",
		fmt.Sprintf("address add %s/30 dev host", n.Address),
		"link set host up",
		// Whatever device: kube-proxy translates the address on the way out. Without a route there is no way out.
		fmt.Sprintf("route add %s dev host", serviceNetwork),
	}
	if err := ip(outside); err != nil {
		return err
	}
	if err := onThread(func() error {
		if err := enterNodeNetwork(first); err != nil {
			return err
		}
		return ip(inside)
	}); err != nil {
		return err
	}
	// Only now: the kernel refuses a way through a link that is down at the other end.
	return ip([]string{fmt.Sprintf("route add %s via %s dev %s", n.Pods, n.Address, n.Interface)})
}

func ip(lines []string) error {
	program, err := findProgram("ip")
	if err != nil {
		return err
	}
	command := exec.Command(program, "-4", "-batch", "-")
	command.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("ip %s: %w\n%s", strings.Join(lines, "; "), err, indent(output.String()))
	}
	return nil
}

// disconnect makes sure that the host's end of the link is gone. The kernel removes it a moment after
// the node's last process ended.
func (n *realNode) disconnect() error {
	gone := func() bool {
		_, err := net.InterfaceByName(n.Interface)
		return err != nil
	}
	if waitUntil(3*time.Second, gone) {
		return nil
	}
	err := ip([]string{"link delete " + n.Interface})
	if gone() {
		return nil
	}
	return fmt.Errorf("remove the network interface: %w", err)
}

// onThread runs a function on a thread of its own, which ends with it: what the thread entered, no
// other function can run in.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// relay passes connections from inside the node on to the API server, which listens on the host's
// loopback only.
type relay struct {
	listeners []net.Listener
	server    string
	mu        sync.Mutex
	open      map[net.Conn]bool
}

// startRelay listens inside the node. Sockets stay in the network that they were made in.
func startRelay(first process, addresses []string, server string) (*relay, error) {
	r := &relay{server: server, open: map[net.Conn]bool{}}
	err := onThread(func() error {
		if err := enterNodeNetwork(first); err != nil {
			return err
		}
		for _, address := range addresses {
			listener, err := net.Listen("tcp4", address)
			if err != nil {
				return err
			}
			r.listeners = append(r.listeners, listener)
		}
		return nil
	})
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("listen for the API server inside the node: %w", err)
	}
	for _, listener := range r.listeners {
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				go r.pass(connection)
			}
		}()
	}
	return r, nil
}

func (r *relay) pass(inside net.Conn) {
	outside, err := net.Dial("tcp4", r.server)
	if err != nil {
		inside.Close()
		return
	}
	r.hold(inside, true)
	defer r.hold(inside, false)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{inside, outside}, {outside, inside}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			// The other direction may still have something to say.
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
	inside.Close()
	outside.Close()
}

func (r *relay) hold(connection net.Conn, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open {
		r.open[connection] = true
	} else {
		delete(r.open, connection)
	}
}

// Close ends all connections too: a socket would keep the node's network alive.
func (r *relay) Close() error {
	for _, listener := range r.listeners {
		listener.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for connection := range r.open {
		connection.Close()
	}
	return nil
}
