package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// localProvisioner makes each volume a folder and a PersistentVolume of type local.
//
// Not kube-controller-manager's host-path provisioner: the kubelet ignores fsGroup on host paths, so
// a non-root database could not write to its volume. On local volumes it honours fsGroup.
type localProvisioner struct {
	client  kubernetes.Interface
	volumes string
}

func runLocalProvisioner(arguments []string) int {
	flags := flag.NewFlagSet("local-provisioner", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of the provisioner's identity")
	volumes := flags.String("volumes", "", "absolute folder that holds one folder per volume")
	name := flags.String("provisioner", "", "provisioner name, as in the StorageClass")
	health := flags.String("health-address", "", "address to serve /healthz on")
	_ = flags.Parse(arguments)
	if *kubeconfig == "" || *name == "" || !filepath.IsAbs(*volumes) {
		fmt.Fprintln(os.Stderr, "local-provisioner: --kubeconfig, --provisioner and an absolute --volumes are required")
		return 2
	}
	if err := provisionUntilSignal(*kubeconfig, *volumes, *name, *health); err != nil {
		fmt.Fprintln(os.Stderr, "local-provisioner:", err)
		return 1
	}
	return 0
}

func provisionUntilSignal(kubeconfig, volumes, name, health string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	// The client's default of 5 requests a second would make a fleet of stores wait for its volumes.
	config.QPS, config.Burst = 200, 400
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	provisioner := &localProvisioner{client: client, volumes: volumes}
	loops := controller.NewProvisionController(ctx, client, name, provisioner,
		controller.LeaderElection(false),
		controller.MetricsPort(0),
		// Keeps a PersistentVolume that was deleted by hand until its folder is gone too.
		controller.AddFinalizer(true),
		// The library's first retry comes after 15 s; here a conflict is over in milliseconds.
		controller.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, 10*time.Second)),
		controller.FailedProvisionThreshold(0),
		controller.FailedDeleteThreshold(0),
	)
	if health != "" {
		go serveHealth(ctx, health, loops)
	}
	loops.Run(ctx)
	return nil
}

func serveHealth(ctx context.Context, address string, loops *controller.ProvisionController) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !loops.HasRun() {
			http.Error(w, "not started", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	if err := http.ListenAndServe(address, mux); err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "health endpoint failed", "address", address)
		os.Exit(1)
	}
}

func (p *localProvisioner) Provision(ctx context.Context, options controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("no node was selected; the StorageClass must use volumeBindingMode WaitForFirstConsumer")
	}
	if options.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("claims with a selector are not supported")
	}
	node, err := p.client.CoreV1().Nodes().Get(ctx, options.SelectedNodeName, meta.GetOptions{})
	if err != nil {
		return nil, controller.ProvisioningNoChange, fmt.Errorf("read node %s: %w", options.SelectedNodeName, err)
	}
	hostname := node.Labels[core.LabelHostname]
	if hostname == "" {
		return nil, controller.ProvisioningReschedule, fmt.Errorf("node %s has no label %s", node.Name, core.LabelHostname)
	}
	folder := filepath.Join(p.volumes, options.PVName)
	if err := makeVolumeFolder(folder); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: options.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    options.PVC.Spec.VolumeMode,
			MountOptions:                  options.StorageClass.MountOptions,
			Capacity: core.ResourceList{
				core.ResourceStorage: options.PVC.Spec.Resources.Requests[core.ResourceStorage],
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: folder},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{
					MatchExpressions: []core.NodeSelectorRequirement{{
						Key:      core.LabelHostname,
						Operator: core.NodeSelectorOpIn,
						Values:   []string{hostname},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// makeVolumeFolder opens the folder to every user, as the parent folder is closed to all but the
// cluster's owner: a pod without fsGroup can then write too, like on most clouds' volumes.
func makeVolumeFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	// MkdirAll is subject to the umask.
	return os.Chmod(folder, 0o777)
}

func (p *localProvisioner) Delete(_ context.Context, volume *core.PersistentVolume) error {
	folder := filepath.Join(p.volumes, volume.Name)
	// Anybody who may write PersistentVolumes could point one at any folder of the host.
	if volume.Spec.Local == nil || volume.Spec.Local.Path != folder {
		return fmt.Errorf("refuse to remove the data of volume %s: it is not in %s", volume.Name, folder)
	}
	return os.RemoveAll(folder)
}
