package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Kinds of node.
const (
	nodeNone      = "none"
	nodeSimulated = "simulated"
	nodeReal      = "real"
)

// Starts with other ports after somebody took one.
const maxPortAttempts = 4

// cluster is a running cluster inside its supervisor.
type cluster struct {
	binaries binaries
	began    time.Time
	// tell passes a line of progress to whoever waits for the cluster.
	tell func(string)
	// failed receives the first failure of a component.
	failed chan error
	// ingress is the wanted address of the ingress controller, empty for any.
	ingress string

	mu       sync.Mutex
	state    state
	children []*child
	node     *runningNode
}

// start brings the cluster up and returns when it is usable.
func (c *cluster) start(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := c.startOnce(ctx)
		var taken portTaken
		if !errors.As(err, &taken) || attempt == maxPortAttempts {
			return err
		}
		logf("%s found its port taken; starting again with other ports", taken.component)
		c.stop()
		c.drainFailures()
		if err := os.RemoveAll(filepath.Join(c.state.Folder, "etcd")); err != nil {
			return err
		}
	}
}

func (c *cluster) startOnce(ctx context.Context) error {
	folder := c.state.Folder
	if err := c.prepare(); err != nil {
		return err
	}
	probe, err := newProbe(pkiFolder(folder))
	if err != nil {
		return err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		select {
		case err := <-c.failed:
			giveUp(err)
		case <-ctx.Done():
		}
	}()
	err = c.startComponents(ctx, probe)
	// The component that ended explains more than the request that failed because of it.
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		if failure := new(childFailure); errors.As(cause, failure) {
			return cause
		}
		if taken := new(portTaken); errors.As(cause, taken) {
			return cause
		}
	}
	return err
}

// prepare writes everything that the components read.
func (c *cluster) prepare() error {
	folder, node := c.state.Folder, c.state.Node
	ports, err := freePorts(portNames(node))
	if err != nil {
		return err
	}
	server := "https://" + loopback(ports[apiServerName])
	c.mu.Lock()
	c.state.Ports, c.state.Server = ports, server
	c.mu.Unlock()
	if node == nodeReal {
		if err := c.prepareReal(); err != nil {
			return err
		}
	}
	// A real node's address can change with each attempt.
	if node == nodeReal || !isFile(filepath.Join(pkiFolder(folder), "ca.crt")) {
		if err := writePKI(pkiFolder(folder), time.Now(), c.state.Real); err != nil {
			return fmt.Errorf("write keys and certificates: %w", err)
		}
	}
	if err := writeNodeKubeconfigs(folder, c.state.Name); err != nil {
		return err
	}
	for _, who := range []string{controllerManagerName, schedulerName, provisionerName, kwokName, ingressName} {
		if err := writeKubeconfig(componentKubeconfig(folder, who), pkiFolder(folder), who, c.state.Name, server); err != nil {
			return err
		}
	}
	if err := writeKubeconfig(kubeconfigFile(folder), pkiFolder(folder), "admin", c.state.Name, server); err != nil {
		return err
	}
	for _, sub := range []string{volumesFolder(folder), filepath.Join(folder, "etcd")} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
	}
	for path, content := range map[string]string{
		// Keeps keys out of version control wherever the folder is.
		filepath.Join(folder, ".gitignore"):        "*\n",
		filepath.Join(folder, "audit-policy.yaml"): manifest("audit-policy.yaml"),
		stagesFile(folder):                         manifest("simulated-stages.yaml"),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return c.save()
}

// startComponents starts the control plane and, beside it, a real node.
func (c *cluster) startComponents(ctx context.Context, probe *probe) error {
	if c.state.Node != nodeReal {
		return c.startControlPlane(ctx, probe, nil)
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	node := make(chan struct{})
	go func() {
		defer close(node)
		if err := c.startNode(ctx, probe); err != nil {
			giveUp(err)
			return
		}
		c.tell(fmt.Sprintf("node ready for pods after %.1f s", seconds(time.Since(c.began))))
	}()
	err := c.startControlPlane(ctx, probe, node)
	// Nobody may start processes any more once this returns.
	giveUp(err)
	<-node
	if cause := context.Cause(ctx); err != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// startControlPlane starts everything that is on the host, and what needs the API server on the node
// once that is there.
func (c *cluster) startControlPlane(ctx context.Context, probe *probe, node <-chan struct{}) error {
	folder, ports := c.state.Folder, c.state.Ports
	etcd := etcdComponent(folder, c.binaries, ports)
	if err := c.launch(etcd); err != nil {
		return err
	}
	if err := waitHealthy(ctx, probe, etcd, logFile(folder, etcd.name)); err != nil {
		return err
	}
	apiServer := apiServerComponent(folder, c.binaries, ports, c.state.Audit)
	if err := c.launch(apiServer); err != nil {
		return err
	}
	if err := waitHealthy(ctx, probe, apiServer, logFile(folder, apiServer.name)); err != nil {
		return err
	}
	c.mu.Lock()
	c.state.APIReady = seconds(time.Since(c.began))
	c.mu.Unlock()
	c.tell(fmt.Sprintf("API server ready after %.1f s", c.state.APIReady))

	rest := []component{
		controllerManagerComponent(folder, c.binaries, ports),
		schedulerComponent(folder, c.binaries, ports),
	}
	api := &api{server: c.state.Server, client: probe.admin}
	if err := c.apply(ctx, api); err != nil {
		return err
	}
	// After apply: these two have no rights before it.
	rest = append(rest, provisionerComponent(folder, c.binaries, ports))
	if c.state.Node == nodeSimulated {
		rest = append(rest, kwokComponent(folder, c.binaries, ports))
	}
	if c.state.Node == nodeReal {
		rest = append(rest, ingressComponent(folder, c.binaries, ports, c.state.Ingress))
	}
	for _, component := range rest {
		if err := c.launch(component); err != nil {
			return err
		}
	}
	if node != nil {
		select {
		case <-node:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, component := range c.nodeAgents() {
			if err := c.launch(component); err != nil {
				return err
			}
			rest = append(rest, component)
		}
	}
	for _, component := range rest {
		if err := waitHealthy(ctx, probe, component, logFile(folder, component.name)); err != nil {
			return err
		}
	}
	names := nodeNames(c.state.Node, c.state.Nodes)
	return poll(ctx, func() error { return api.usable(ctx, names) }, "the cluster did not become usable")
}

func (c *cluster) apply(ctx context.Context, api *api) error {
	documents := []string{manifest("storage.yaml"), manifest("kubelet-client.yaml")}
	if c.state.Node == nodeSimulated {
		documents = append(documents, manifest("simulated.yaml"))
		for _, name := range nodeNames(c.state.Node, c.state.Nodes) {
			documents = append(documents, strings.ReplaceAll(manifest("simulated-node.yaml"), "NODE_NAME", name))
		}
	}
	if node := c.state.Real; node != nil {
		documents = append(documents, node.manifests(), manifest("ingress.yaml"))
	}
	for _, document := range documents {
		// Ready is not yet warm: the first writes can meet a cache that is still being filled.
		err := poll(ctx, func() error { return api.apply(ctx, document) }, "the API server refuses the cluster's own objects")
		if err != nil {
			return err
		}
	}
	return nil
}

func nodeNames(node string, count int) []string {
	var names []string
	if node == nodeSimulated {
		for index := range count {
			names = append(names, fmt.Sprintf("simulated-%d", index))
		}
	}
	if node == nodeReal {
		names = append(names, realNodeName)
	}
	return names
}

func (c *cluster) launch(component component) error {
	_, err := c.launchChild(component)
	return err
}

func (c *cluster) launchChild(component component) (*child, error) {
	var enter func() error
	if component.inNode {
		first := c.node.first
		enter = func() error { return enterNode(first) }
	}
	child, err := startChild(component, c.state.Folder, enter, func() { _ = c.save() }, c.fail)
	if err != nil {
		return nil, err
	}
	logf("started %s", component.name)
	c.mu.Lock()
	c.children = append(c.children, child)
	c.mu.Unlock()
	return child, c.save()
}

// fail keeps the first failure; what fails after it fails because of it.
func (c *cluster) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

func (c *cluster) drainFailures() {
	select {
	case <-c.failed:
	default:
	}
}

// stop ends the components: first all that talk to the API server, then that, then its database. The
// grace periods are short, as the data goes too.
func (c *cluster) stop() {
	c.mu.Lock()
	children := c.children
	c.children = nil
	c.mu.Unlock()
	last := map[string]int{apiServerName: 1, etcdName: 2}
	for stage := range 3 {
		var group sync.WaitGroup
		for _, child := range children {
			if last[child.component.name] == stage {
				group.Go(func() { child.stop(2 * time.Second) })
			}
		}
		group.Wait()
	}
	c.stopNode()
}

// save writes cluster.json with what is true now.
func (c *cluster) save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Stopping empties the list of children, but down still wants to know their pids.
	if len(c.children) > 0 {
		c.state.Components = nil
		for _, child := range c.children {
			c.state.Components = append(c.state.Components, child.state())
		}
	}
	return c.state.write()
}

func (c *cluster) enter(phase, problem string) {
	c.mu.Lock()
	c.state.Phase, c.state.Problem = phase, problem
	if phase == phaseReady {
		c.state.Usable = seconds(time.Since(c.began))
	}
	c.mu.Unlock()
	if err := c.save(); err != nil {
		logf("write cluster.json: %v", err)
	}
}

// seconds rounds to a tenth: more digits would look like more precision than there is.
func seconds(duration time.Duration) float64 {
	return float64(duration.Round(100*time.Millisecond)) / float64(time.Second)
}
