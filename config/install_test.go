package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// patience bounds every wait.
const patience = 20 * time.Second

// Every overlay is applied without a warning, applied again changes nothing, and
// deleted leaves nothing behind, whatever pauses there are.
func TestOverlays(t *testing.T) {
	for name, o := range overlays(t) {
		t.Run(name, func(t *testing.T) {
			for _, component := range o.components {
				for _, f := range foreigners[component] {
					f.install(t)
				}
			}
			makeJudged(t)
			before := objects(t)
			paths := o.render(t)
			apply(t, paths)
			installed := objects(t)
			if len(installed) <= len(before) {
				t.Error("nothing was installed")
			}
			apply(t, paths)
			if again := objects(t); !maps.Equal(installed, again) {
				t.Errorf("applied again, it changed %v", difference(installed, again))
			}
			judgePods(t)
			judgeReferences(t)
			judgeRights(t)
			judgeArguments(t)
			kubectl(t, "apply", "--server-side", "--namespace=meetings", "-k", "samples")

			slices.Reverse(paths)
			for _, path := range paths {
				kubectl(t, "delete", "--wait=false", "-f", path)
			}
			awaitNothingLeft(t, before)
		})
	}
}

func apply(t *testing.T, paths []string) {
	t.Helper()
	for _, path := range paths {
		if _, complaints := kubectl(t, "apply", "--server-side", "--warnings-as-errors", "-f", path); complaints != "" {
			t.Errorf("kubectl says: %s", complaints)
		}
	}
	awaitEstablished(t, "rtpstreampauses.rtp.nagi.dev")
}

// passing are the kinds that the API server itself makes and deletes as it runs.
var passing = []string{"events", "leases", "componentstatuses"}

// objects are the resource versions of all that the API server has, by its kind and
// name.
func objects(t *testing.T) map[string]string {
	t.Helper()
	_, lists, err := clients.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	quiet := rest.CopyConfig(plane.Config)
	quiet.WarningHandler = rest.NoWarnings{} // Endpoints are out of use.
	client, err := metadata.NewForConfig(quiet)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, resource := range list.APIResources {
			if slices.Contains(passing, resource.Name) || !slices.Contains(resource.Verbs, "list") {
				continue
			}
			all, err := client.Resource(group.WithResource(resource.Name)).List(t.Context(), metav1.ListOptions{})
			if apierrors.IsNotFound(err) {
				continue // Its CRD went meanwhile.
			}
			if err != nil {
				t.Fatalf("list %s: %v", resource.Name, err)
			}
			for _, object := range all.Items {
				found[fmt.Sprintf("%s %s/%s", resource.Name, object.Namespace, object.Name)] = object.ResourceVersion
			}
		}
	}

	return found
}

// difference is what is in one and not, or not alike, in the other.
func difference(one, other map[string]string) []string {
	var names []string
	for name, version := range one {
		if other[name] != version {
			names = append(names, name)
		}
	}
	for name := range other {
		if _, both := one[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)

	return names
}

// awaitNothingLeft waits until there is what there was before. Namespaces it ends
// itself, once they are empty: in a cluster that is the controller manager's work.
func awaitNothingLeft(t *testing.T, before map[string]string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		left = nil
		for name := range objects(t) {
			if _, was := before[name]; !was {
				left = append(left, name)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			slices.Sort(left)
			t.Fatalf("these are left behind: %v", left)
		}
		endNamespaces(t, left)
	}
}

// endNamespaces ends the namespaces that are being deleted and hold nothing.
func endNamespaces(t *testing.T, left []string) {
	t.Helper()
	for _, name := range left {
		namespace, found := strings.CutPrefix(name, "namespaces /")
		holds := slices.ContainsFunc(left, func(other string) bool { return strings.Contains(other, " "+namespace+"/") })
		if !found || holds {
			continue
		}
		object, err := clients.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if err != nil || object.DeletionTimestamp == nil {
			continue
		}
		object.Spec.Finalizers = nil
		if _, err := clients.CoreV1().Namespaces().Finalize(t.Context(), object, metav1.UpdateOptions{}); err != nil {
			t.Logf("end namespace %s: %v", namespace, err)
		}
	}
}
