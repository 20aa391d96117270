package config

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// judgeReferences finds what an API server takes and what works nowhere: a Service
// that chooses no pod, or a port that the pods do not name, a variable of an argument
// that the container does not have, a ServiceAccount that is not there.
func judgeReferences(t *testing.T) {
	t.Helper()
	all := workloads(t)
	services, err := clients.CoreV1().Services("").List(t.Context(),
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=nagi"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services.Items {
		for _, port := range s.Spec.Ports {
			if !offered(all, s, port.TargetPort.StrVal) {
				t.Errorf("Service %s/%s: no pod that it chooses has a port %q", s.Namespace, s.Name, port.TargetPort.StrVal)
			}
		}
	}
	for _, w := range all {
		if _, err := clients.CoreV1().ServiceAccounts(w.namespace).Get(t.Context(), w.pod.Spec.ServiceAccountName,
			metav1.GetOptions{}); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		container := w.pod.Spec.Containers[0]
		for _, argument := range container.Args {
			if name, found := variable(argument); found && !has(container.Env, name) {
				t.Errorf("%s: %s: the container has no variable %s", w.name, argument, name)
			}
		}
	}
}

// offered tells whether a workload that the Service chooses names the port. The label
// of a StatefulSet's single pod is the controller's to give.
func offered(all []workload, s corev1.Service, port string) bool {
	for _, w := range all {
		chosen := w.namespace == s.Namespace
		for key, value := range s.Spec.Selector {
			chosen = chosen &&
				(w.pod.Labels[key] == value || key == "statefulset.kubernetes.io/pod-name" && value == w.name+"-0")
		}
		for _, p := range w.pod.Spec.Containers[0].Ports {
			if chosen && p.Name == port {
				return true
			}
		}
	}

	return false
}

func variable(argument string) (name string, found bool) {
	_, rest, found := strings.Cut(argument, "$(")
	name, _, _ = strings.Cut(rest, ")")

	return name, found
}

func has(variables []corev1.EnvVar, name string) bool {
	for _, v := range variables {
		if v.Name == name {
			return true
		}
	}

	return false
}
