package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// Component names; also names of log files.
const (
	etcdName              = "etcd"
	apiServerName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"
	schedulerName         = "kube-scheduler"
	provisionerName       = "local-provisioner"
	kwokName              = "kwok"
	nodeName              = "node"
	containerdName        = "containerd"
	kubeletName           = "kubelet"
	kubeProxyName         = "kube-proxy"
	coreDNSName           = "coredns"
)

// etcdPeerPort is a port only because etcd insists on one; a single member has no peers.
const etcdPeerPort = "etcd-peer"

// storageProvisioner is what the StorageClass in manifests/storage.yaml names.
const storageProvisioner = "devcluster.storekeeper.dev/local"

// component is one supervised program.
type component struct {
	name      string
	path      string
	arguments []string
	port      int
	// health is a URL that answers 200 when the component works; without one it only has to run.
	health string
	// inNode says that it runs in the real node's namespaces.
	inNode bool
	// vital says that the cluster can't go on when it ends.
	vital bool
	// tell is where it says that it is ready, as its file 3.
	tell *os.File
}

// binaries are the paths of the built tools.
type binaries struct {
	kubernetes string
	kwok       string
	containerd string
	// cni is one of the plugins; the others are beside it.
	cni     string
	coredns string
}

// portNames lists the ports that a cluster with this kind of node needs.
func portNames(node string) []string {
	names := []string{etcdName, etcdPeerPort, apiServerName, controllerManagerName, schedulerName, provisionerName}
	if node == nodeSimulated {
		names = append(names, kwokName)
	}
	if node == nodeReal {
		names = append(names, ingressName)
	}
	return names
}

func etcdComponent(folder string, binaries binaries, ports map[string]int) component {
	pki := pkiFolder(folder)
	client, peer := "https://"+loopback(ports[etcdName]), "https://"+loopback(ports[etcdPeerPort])
	certificate, key, authority := filepath.Join(pki, "etcd.crt"), filepath.Join(pki, "etcd.key"), filepath.Join(pki, "etcd-ca.crt")
	return component{
		name:   etcdName,
		path:   binaries.kubernetes,
		port:   ports[etcdName],
		health: client + "/health",
		arguments: []string{"etcd",
			"--name=devcluster",
			"--data-dir=" + filepath.Join(folder, "etcd"),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=devcluster=" + peer,
			"--cert-file=" + certificate,
			"--key-file=" + key,
			"--trusted-ca-file=" + authority,
			"--client-cert-auth",
			"--peer-cert-file=" + certificate,
			"--peer-key-file=" + key,
			"--peer-trusted-ca-file=" + authority,
			"--peer-client-cert-auth",
			// The data goes when the cluster goes, so there is no crash of the machine to survive.
			"--unsafe-no-fsync",
			"--quota-backend-bytes=8589934592",
			"--log-level=warn",
		},
	}
}

func apiServerComponent(folder string, binaries binaries, ports map[string]int, audit bool) component {
	pki := pkiFolder(folder)
	arguments := []string{"kube-apiserver",
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ports[apiServerName]),
		"--etcd-servers=https://" + loopback(ports[etcdName]),
		"--etcd-cafile=" + filepath.Join(pki, "etcd-ca.crt"),
		"--etcd-certfile=" + filepath.Join(pki, "etcd-client.crt"),
		"--etcd-keyfile=" + filepath.Join(pki, "etcd-client.key"),
		"--client-ca-file=" + filepath.Join(pki, "ca.crt"),
		"--tls-cert-file=" + filepath.Join(pki, "apiserver.crt"),
		"--tls-private-key-file=" + filepath.Join(pki, "apiserver.key"),
		"--kubelet-client-certificate=" + filepath.Join(pki, "apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + filepath.Join(pki, "apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + filepath.Join(pki, "ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + filepath.Join(pki, "front-proxy-ca.crt"),
		"--requestheader-allowed-names=" + frontProxyName,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + filepath.Join(pki, "front-proxy.crt"),
		"--proxy-client-key-file=" + filepath.Join(pki, "front-proxy.key"),
		"--service-account-key-file=" + filepath.Join(pki, "service-account.pub"),
		"--service-account-signing-key-file=" + filepath.Join(pki, "service-account.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=" + serviceNetwork,
		"--authorization-mode=Node,RBAC",
		"--anonymous-auth=false",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		// It would publish a loopback address as the Service kubernetes's endpoint, which is refused.
		"--endpoint-reconciler-type=none",
		"--profiling=false",
	}
	if audit {
		arguments = append(arguments,
			"--audit-policy-file="+filepath.Join(folder, "audit-policy.yaml"),
			"--audit-log-path="+auditFile(folder),
			"--audit-log-format=json",
			// In MiB. Whoever counts requests wants them in one file: about three million lines.
			"--audit-log-maxsize=2048",
			"--audit-log-maxbackup=2",
		)
	}
	return component{
		name:      apiServerName,
		path:      binaries.kubernetes,
		port:      ports[apiServerName],
		health:    "https://" + loopback(ports[apiServerName]) + "/readyz",
		arguments: arguments,
	}
}

// The default of 20 or 50 requests a second of a controller's own client is made for clusters where
// many share an API server; here it would only make everything wait that waits for a status.
var clientLimits = []string{"--kube-api-qps=1000", "--kube-api-burst=2000"}

func controllerManagerComponent(folder string, binaries binaries, ports map[string]int) component {
	pki, kubeconfig := pkiFolder(folder), componentKubeconfig(folder, controllerManagerName)
	return component{
		name:   controllerManagerName,
		path:   binaries.kubernetes,
		port:   ports[controllerManagerName],
		health: "https://" + loopback(ports[controllerManagerName]) + "/healthz",
		arguments: append([]string{"kube-controller-manager",
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", ports[controllerManagerName]),
			"--tls-cert-file=" + filepath.Join(pki, "controller-manager-server.crt"),
			"--tls-private-key-file=" + filepath.Join(pki, "controller-manager-server.key"),
			"--leader-elect=false",
			// No cloud, and pods get their addresses from the node.
			"--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,-service-lb-controller",
			"--use-service-account-credentials=true",
			"--service-account-private-key-file=" + filepath.Join(pki, "service-account.key"),
			"--root-ca-file=" + filepath.Join(pki, "ca.crt"),
			"--cluster-signing-cert-file=" + filepath.Join(pki, "ca.crt"),
			"--cluster-signing-key-file=" + filepath.Join(pki, "ca.key"),
			"--profiling=false",
		}, clientLimits...),
	}
}

func schedulerComponent(folder string, binaries binaries, ports map[string]int) component {
	pki, kubeconfig := pkiFolder(folder), componentKubeconfig(folder, schedulerName)
	return component{
		name:   schedulerName,
		path:   binaries.kubernetes,
		port:   ports[schedulerName],
		health: "https://" + loopback(ports[schedulerName]) + "/readyz",
		arguments: append([]string{"kube-scheduler",
			"--kubeconfig=" + kubeconfig,
			"--authentication-kubeconfig=" + kubeconfig,
			"--authorization-kubeconfig=" + kubeconfig,
			"--bind-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", ports[schedulerName]),
			"--tls-cert-file=" + filepath.Join(pki, "scheduler-server.crt"),
			"--tls-private-key-file=" + filepath.Join(pki, "scheduler-server.key"),
			"--leader-elect=false",
			"--profiling=false",
		}, clientLimits...),
	}
}

func provisionerComponent(folder string, binaries binaries, ports map[string]int) component {
	return component{
		name:   provisionerName,
		path:   binaries.kubernetes,
		port:   ports[provisionerName],
		health: "http://" + loopback(ports[provisionerName]) + "/healthz",
		arguments: []string{"local-provisioner",
			"--kubeconfig=" + componentKubeconfig(folder, provisionerName),
			"--volumes=" + volumesFolder(folder),
			"--provisioner=" + storageProvisioner,
			"--health-address=" + loopback(ports[provisionerName]),
		},
	}
}

func kwokComponent(folder string, binaries binaries, ports map[string]int) component {
	return component{
		name:   kwokName,
		path:   binaries.kwok,
		port:   ports[kwokName],
		health: "http://" + loopback(ports[kwokName]) + "/healthz",
		arguments: []string{
			"--kubeconfig=" + componentKubeconfig(folder, kwokName),
			"--config=" + stagesFile(folder),
			"--manage-nodes-with-label-selector=type=kwok",
			"--node-lease-duration-seconds=40",
			"--node-ip=127.0.0.1",
			"--cidr=10.244.0.0/16",
			"--server-address=" + loopback(ports[kwokName]),
		},
	}
}

func componentKubeconfig(folder, who string) string {
	return filepath.Join(pkiFolder(folder), who+".kubeconfig")
}

func stagesFile(folder string) string { return filepath.Join(folder, "simulated-stages.yaml") }

// componentEnvironment keeps the caller's settings out: etcd, for one, reads every option from
// variables too.
func componentEnvironment(folder string) []string {
	environment := []string{"KWOK_WORKDIR=" + filepath.Join(folder, "kwok"), "PATH=" + nodePath(os.Getenv("PATH"))}
	for _, name := range []string{"HOME", "TMPDIR", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "TZ"} {
		if value, found := os.LookupEnv(name); found {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}
