package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// nodeBuilt is what the node's first process says when the node's view of the machine is complete.
const nodeBuilt = "built"

// runningNode is a real node inside the cluster's supervisor.
type runningNode struct {
	*realNode
	first process
	// claims keep other clusters from the node's networks and the ingress address.
	claims  []io.Closer
	relay   *relay
	sweeper *sweeper
}

// startNode makes the node up to its container runtime and the image that every pod needs. It needs no
// API server.
func (c *cluster) startNode(ctx context.Context, probe *probe) error {
	folder, node := c.state.Folder, c.state.Real
	var err error
	if c.node.sweeper, err = startSweeper(folder, node.Cgroup); err != nil {
		return err
	}
	if err := makeCgroups(node.Cgroup); err != nil {
		return err
	}
	if err := c.startFirst(ctx); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	if err := node.connect(c.node.first); err != nil {
		return err
	}
	addresses := []string{loopback(nodeAPIPort), fmt.Sprintf("%s:%d", node.Address, nodeAPIPort)}
	if c.node.relay, err = startRelay(c.node.first, addresses, loopback(c.state.Ports[apiServerName])); err != nil {
		return err
	}
	containerd := containerdComponent(folder, c.binaries, node)
	if err := c.launch(containerd); err != nil {
		return err
	}
	if err := waitHealthy(ctx, probe, containerd, logFile(folder, containerd.name)); err != nil {
		return err
	}
	pause, err := writePauseImage(folder, c.binaries)
	if err != nil {
		return err
	}
	_, err = runtimeOf(c.binaries, c.node.first).load(ctx, pause)
	return err
}

// startFirst starts the first process and waits until it has built the node's view.
func (c *cluster) startFirst(ctx context.Context) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	component := nodeComponent(c.state.Folder, c.binaries, c.state.Real)
	component.tell = writer
	first, err := c.launchChild(component)
	writer.Close()
	if err != nil {
		return err
	}
	// A line, or the end of the process.
	if deadline, found := ctx.Deadline(); found {
		_ = reader.SetReadDeadline(deadline)
	}
	line, err := bufio.NewReader(reader).ReadString('\n')
	if line = strings.TrimSpace(line); line != nodeBuilt {
		return errors.Join(errors.New(line), err)
	}
	c.node.first = first.state().Process
	return nil
}

// nodeAgents are the node's programs that need the API server.
func (c *cluster) nodeAgents() []component {
	folder, node := c.state.Folder, c.state.Real
	return []component{
		kubeletComponent(folder, c.binaries, node),
		kubeProxyComponent(folder, c.binaries, node),
		coreDNSComponent(folder, c.binaries, node),
	}
}

// prepareReal chooses the node's networks and writes its files.
func (c *cluster) prepareReal() error {
	folder := c.state.Folder
	if err := removeNodeFolder(folder); err != nil {
		return err
	}
	node, claim, err := claimNetworks(c.state.Supervisor)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.node = &runningNode{realNode: node, claims: []io.Closer{claim}}
	c.state.Real = node
	c.mu.Unlock()
	address, claim, err := claimIngress(c.ingress)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.node.claims = append(c.node.claims, claim)
	c.state.Ingress = address
	c.mu.Unlock()
	removeStaleCgroups()
	return prepareNode(folder, c.binaries, node)
}

// manifests are the objects of a cluster with a real node.
func (n *realNode) manifests() string {
	return strings.NewReplacer("NODE_ADDRESS", n.Address, "CLUSTER_DNS", clusterDNSAddress).Replace(manifest("real.yaml"))
}

// stopNode removes what the kernel does not remove with the node's processes, which have ended.
func (c *cluster) stopNode() {
	c.mu.Lock()
	node := c.node
	c.node = nil
	c.mu.Unlock()
	if node == nil {
		return
	}
	if node.relay != nil {
		node.relay.Close()
	}
	if err := node.remove(); err != nil {
		logf("the node is not all gone: %v", err)
	}
	node.sweeper.stop()
	for _, claim := range node.claims {
		claim.Close()
	}
}

// remove removes the node's traces on the host after its processes have ended.
func (n *realNode) remove() error {
	return errors.Join(removeCgroups(n.Cgroup), n.disconnect())
}

// sweeper is a process that waits for the end of the supervisor, to remove the one thing that the kernel
// leaves when it ends a node: the control groups.
type sweeper struct {
	command *exec.Cmd
	pipe    *os.File
}

func startSweeper(folder, cgroup string) (*sweeper, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	command := exec.Command(nodeOwnProgram(folder), "node-sweep", "--state="+folder, "--cgroup="+cgroup)
	command.Stdin = reader
	// Out of reach of a Ctrl-C.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		writer.Close()
		return nil, fmt.Errorf("start the sweeper: %w", err)
	}
	return &sweeper{command, writer}, nil
}

func (s *sweeper) stop() {
	if s != nil {
		s.pipe.Close()
		_ = s.command.Wait()
	}
}

// nodeSweep is the sweeper's program. Its input ends with the supervisor.
func nodeSweep(arguments []string) error {
	flags := newFlags("node-sweep")
	_ = flags.String("state", "", "")
	cgroup := flags.String("cgroup", "", "")
	if err := parseAll(flags, arguments); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return removeCgroups(*cgroup)
}

// removeNodeFolder makes place for a node from nothing.
func removeNodeFolder(folder string) error {
	var err error
	if !waitUntil(2*time.Second, func() bool { err = os.RemoveAll(nodeFolder(folder)); return err == nil }) {
		return fmt.Errorf("remove the files of an earlier node: %w", err)
	}
	return nil
}
