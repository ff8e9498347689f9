// Command kubernetes is every control-plane program in one binary, chosen by the first argument.
//
// One binary because the programs share most of their packages: apart they would take the same
// compile time but nine links and about a gigabyte of disk.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"storekeeper.dev/devcluster/tools/kubernetes/ingress"
)

// programs lists kubelet and kube-proxy too, which only a real node needs: they add little to a binary
// that shares their packages.
var programs = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { os.Exit(cli.Run(apiserver.NewAPIServerCommand())) },
	"kube-controller-manager": func() { os.Exit(cli.Run(controllermanager.NewControllerManagerCommand())) },
	"kube-scheduler":          func() { os.Exit(cli.Run(scheduler.NewSchedulerCommand())) },
	"kubelet":                 func() { os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background()))) },
	"kube-proxy":              func() { os.Exit(cli.Run(proxy.NewProxyCommand())) },
	"kubectl":                 func() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) },
	"local-provisioner":       func() { os.Exit(runLocalProvisioner(os.Args[1:])) },
	"ingress-controller":      func() { os.Exit(ingress.Run(os.Args[1:])) },
}

func main() {
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		names := make([]string, 0, len(programs))
		for name := range programs {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: %s PROGRAM [ARGUMENT]...\nprograms: %s\n", os.Args[0], strings.Join(names, ", "))
		os.Exit(2)
	}
	program := programs[os.Args[1]]
	// Each program reads os.Args as if it were alone.
	os.Args = os.Args[1:]
	program()
}
