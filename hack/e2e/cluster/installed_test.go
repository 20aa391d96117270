//go:build linux && cluster

package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// soon is within what everything has to be ready once it is installed.
const soon = time.Minute

// ready tells what of the installation is not ready, or not yet what was asked for last.
func ready(ctx context.Context) error {
	for _, name := range []string{"nagi-manager", "nagi-shim"} {
		var d appsv1.Deployment
		if err := api.Get(ctx, client.ObjectKey{Namespace: system, Name: name}, &d); err != nil {
			return err
		}
		if s := d.Status; s.ObservedGeneration != d.Generation || s.Replicas != *d.Spec.Replicas ||
			s.UpdatedReplicas != s.Replicas || s.AvailableReplicas != s.Replicas {
			return fmt.Errorf("%s: %d of %d are available, %d up to date", name, s.AvailableReplicas, *d.Spec.Replicas,
				s.UpdatedReplicas)
		}
	}
	var set appsv1.StatefulSet
	if err := api.Get(ctx, client.ObjectKey{Namespace: tenant, Name: "nagi-mediaserver"}, &set); err != nil {
		return err
	}
	if s := set.Status; s.ObservedGeneration != set.Generation || s.Replicas != *set.Spec.Replicas ||
		s.ReadyReplicas != s.Replicas || s.UpdateRevision != s.CurrentRevision {
		return fmt.Errorf("nagi-mediaserver: %d of %d are ready", s.ReadyReplicas, *set.Spec.Replicas)
	}
	// What the controllers say may be of a moment ago.
	for _, namespace := range []string{system, tenant} {
		var pods corev1.PodList
		if err := api.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp != nil {
				return fmt.Errorf("%s is about to end", pod.Name)
			}
			if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			}) {
				return fmt.Errorf("%s is not ready", pod.Name)
			}
		}
	}

	return nil
}

// awaitReady waits until everything is ready, and returns how long that took since a moment.
func awaitReady(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	await(t, "everything to be ready", func() error { return ready(t.Context()) })

	return time.Since(since)
}

// proveReadySoon proves that everything is ready soon after a moment, and that nothing had to begin anew for that.
func proveReadySoon(t *testing.T, how string, since time.Time) {
	t.Helper()
	took := awaitReady(t, since)
	report(map[string]any{"installed": how, "ready_seconds": took.Seconds()})
	if took > soon {
		t.Errorf("%s: everything was ready after %s, want at most %s", how, took, soon)
	}
	for _, namespace := range []string{system, tenant} {
		restarts := kubectl(t, "--namespace="+namespace, "get", "pods",
			"--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}")
		if strings.Trim(restarts, "0 ") != "" {
			t.Errorf("%s: containers in %s began anew: %s", how, namespace, restarts)
		}
	}
}

// proveNothingLeft proves that a removal leaves none of what we install, and that it waits for nobody.
func proveNothingLeft(t *testing.T) {
	t.Helper()
	await(t, "everything of ours to be gone", func() error {
		left := kubectl(t, "get", "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings", "--output=name")
		for name := range strings.FieldsSeq(left) {
			if strings.Contains(name, "nagi") || strings.HasSuffix(name, "/"+tenant) {
				return fmt.Errorf("%s is left", name)
			}
		}

		return nil
	})
}
