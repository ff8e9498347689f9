package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"
)

// status is the command of that name.
func status(target target, arguments []string) error {
	flags := newFlags("status")
	target.register(flags)
	if err := parseAll(flags, arguments); err != nil {
		return err
	}
	if err := target.resolve(); err != nil {
		return err
	}
	found, err := readState(target.folder)
	if errors.Is(err, errNoCluster) {
		fmt.Printf("cluster %s is down\n", target.name)
		return exitError{exitDown}
	}
	if err != nil {
		return err
	}
	if !found.running() {
		fmt.Printf("cluster %s is down\n", found.Name)
		if found.Problem != "" {
			fmt.Printf("it was given up: %s\n", found.Problem)
		} else {
			fmt.Println("its supervisor was killed; devcluster down or up removes what it left")
		}
		return exitError{exitDown}
	}
	fmt.Printf("cluster %s is %s, node %s, kubeconfig %s\n", found.Name, found.Phase, found.Node, found.Kubeconfig)
	if !printComponents(found) || found.Phase != phaseReady {
		return exitError{exitFailed}
	}
	return nil
}

func printComponents(found *state) (healthy bool) {
	healthy = true
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "COMPONENT\tPID\tPORT\tRESTARTS\tHEALTH")
	probe, err := newProbe(pkiFolder(found.Folder))
	if err != nil {
		fmt.Fprintf(table, "keys and certificates are not readable: %v\n", err)
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	components := map[string]component{}
	for _, component := range allComponents(found) {
		components[component.name] = component
	}
	for _, running := range found.Components {
		health := "healthy"
		if !running.Process.belongsTo(found.Folder) {
			health = "not running"
		} else if err := probe.healthy(ctx, components[running.Name]); err != nil {
			health = err.Error()
		}
		healthy = healthy && health == "healthy"
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\n", running.Name, running.Process.PID, running.Port, running.Restarts, health)
	}
	return healthy
}

// allComponents describes the components of a cluster again, for their health addresses.
func allComponents(found *state) []component {
	var none binaries
	folder, ports := found.Folder, found.Ports
	components := []component{
		etcdComponent(folder, none, ports),
		apiServerComponent(folder, none, ports, found.Audit),
		controllerManagerComponent(folder, none, ports),
		schedulerComponent(folder, none, ports),
		provisionerComponent(folder, none, ports),
	}
	if found.Node == nodeSimulated {
		components = append(components, kwokComponent(folder, none, ports))
	}
	if node := found.Real; node != nil {
		components = append(components,
			ingressComponent(folder, none, ports, found.Ingress),
			nodeComponent(folder, none, node),
			containerdComponent(folder, none, node),
			kubeletComponent(folder, none, node),
			kubeProxyComponent(folder, none, node),
			coreDNSComponent(folder, none, node),
		)
	}
	return components
}
