package config

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// judged is a namespace that holds every pod to the restricted standard.
const judged = "judged"

// workload is a pod as one of the installed workloads makes it.
type workload struct {
	namespace, name string
	pod             corev1.PodTemplateSpec
}

func workloads(t *testing.T) []workload {
	t.Helper()
	var all []workload
	deployments, err := clients.AppsV1().Deployments("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deployments.Items {
		all = append(all, workload{d.Namespace, d.Name, d.Spec.Template})
	}
	sets, err := clients.AppsV1().StatefulSets("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sets.Items {
		all = append(all, workload{s.Namespace, s.Name, s.Spec.Template})
	}

	return all
}

// admit asks the API server whether it would take the workload's pod in a namespace.
func (w workload) admit(t *testing.T, namespace string, change func(*corev1.PodSpec)) error {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: w.name, Namespace: namespace, Labels: w.pod.Labels},
		Spec:       *w.pod.Spec.DeepCopy(),
	}
	change(&pod.Spec)
	_, err := clients.CoreV1().Pods(namespace).Create(t.Context(), pod,
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})

	return err
}

func unchanged(*corev1.PodSpec) {}

// withoutHostPorts takes from a pod what media may need of a node.
func withoutHostPorts(spec *corev1.PodSpec) {
	spec.HostNetwork = false
	for i := range spec.Containers {
		for j := range spec.Containers[i].Ports {
			spec.Containers[i].Ports[j].HostPort = 0
		}
	}
}

// judgePods has the API server judge the pods of what is installed: their namespaces
// take them, the restricted standard takes them all, but for the node's ports and
// network that media servers may have, and what is not restricted is taken nowhere
// but where media servers have them.
func judgePods(t *testing.T) {
	t.Helper()
	all := workloads(t)
	names := map[string]bool{}
	for _, w := range all {
		names[w.name] = true
	}
	if want := map[string]bool{
		"nagi-manager": true, "nagi-shim": true, "nagi-mediaserver": true,
	}; !maps.Equal(names, want) {
		t.Errorf("the workloads are %v, want %v", names, want)
	}
	needy := map[string]bool{}
	for _, w := range all {
		if err := w.admit(t, w.namespace, unchanged); err != nil {
			t.Errorf("%s: its namespace does not take its pod: %v", w.name, err)
		}
		if err := w.admit(t, judged, withoutHostPorts); err != nil {
			t.Errorf("%s: the restricted standard does not take its pod: %v", w.name, err)
		}
		if err := w.admit(t, judged, unchanged); err != nil {
			needy[w.namespace] = true
			if w.name != "nagi-mediaserver" {
				t.Errorf("%s: it has what only a media server may have: %v", w.name, err)
			}
		}
	}
	for _, w := range all {
		err := w.admit(t, w.namespace, privileged)
		if !needy[w.namespace] && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity")) {
			t.Errorf("namespace %s takes privileged pods (%v), though nothing in it needs them", w.namespace, err)
		}
	}
}

func privileged(spec *corev1.PodSpec) {
	yes := true
	spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
}

func makeJudged(t *testing.T) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: judged, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if _, err := clients.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil &&
		!apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}
