package ingress

import (
	"context"
	"encoding/json"
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// fieldManager is who the API server's objects say wrote status.loadBalancer.
const fieldManager = "devcluster-ingress"

// publisher writes the controller's address into the status of its Ingresses.
type publisher struct {
	client  kubernetes.Interface
	address string
	// find returns an Ingress that is the controller's, nil if there is none.
	find  func(types.NamespacedName) *networking.Ingress
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

func newPublisher(client kubernetes.Interface, address string, find func(types.NamespacedName) *networking.Ingress) *publisher {
	retries := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, 10*time.Second)
	return &publisher{client: client, address: address, find: find, queue: workqueue.NewTypedRateLimitingQueue(retries)}
}

// enqueue asks for a write to each Ingress whose status differs.
func (p *publisher) enqueue(ingresses []*networking.Ingress) {
	for _, ingress := range ingresses {
		if !p.isPublished(ingress) {
			p.queue.Add(types.NamespacedName{Namespace: ingress.Namespace, Name: ingress.Name})
		}
	}
}

// run works until the context ends.
func (p *publisher) run(ctx context.Context) {
	go func() {
		<-ctx.Done()
		p.queue.ShutDown()
	}()
	for {
		name, ended := p.queue.Get()
		if ended {
			return
		}
		if err := p.publish(ctx, name); err == nil {
			p.queue.Forget(name)
		} else {
			// A conflict means that the cache is a moment behind.
			if !errors.IsConflict(err) && ctx.Err() == nil {
				klog.ErrorS(err, "status not written", "ingress", name)
			}
			p.queue.AddRateLimited(name)
		}
		p.queue.Done(name)
	}
}

func (p *publisher) publish(ctx context.Context, name types.NamespacedName) error {
	ingress := p.find(name)
	if ingress == nil || p.isPublished(ingress) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		// The write fails when the object is not the one that was looked at.
		"metadata": map[string]any{"uid": ingress.UID, "resourceVersion": ingress.ResourceVersion},
		"status": networking.IngressStatus{LoadBalancer: networking.IngressLoadBalancerStatus{
			Ingress: []networking.IngressLoadBalancerIngress{{IP: p.address}},
		}},
	})
	if err != nil {
		return err
	}
	_, err = p.client.NetworkingV1().Ingresses(name.Namespace).Patch(ctx, name.Name, types.MergePatchType, patch,
		meta.PatchOptions{FieldManager: fieldManager}, "status")
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}

func (p *publisher) isPublished(ingress *networking.Ingress) bool {
	published := ingress.Status.LoadBalancer.Ingress
	return len(published) == 1 && published[0].IP == p.address && published[0].Hostname == ""
}
