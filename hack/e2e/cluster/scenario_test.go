//go:build linux && cluster

package cluster

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// report prints a finding, as a line of JSON.
func report(finding map[string]any) {
	line, err := json.Marshal(finding)
	if err != nil {
		panic(err) // A map of numbers and words.
	}
	fmt.Println(string(line))
}

// stage runs a part of the whole and prints how long it took. The parts after one that failed have nothing to stand on.
func stage(t *testing.T, name string, run func(t *testing.T)) {
	t.Helper()
	began := time.Now()
	passed := t.Run(name, run)
	report(map[string]any{"stage": name, "seconds": time.Since(began).Seconds(), "passed": passed})
	if !passed {
		t.FailNow()
	}
}

// TestCluster is one story: the installation by the README's words, and its removal; the installation once more, and
// what it does for clients, first while nothing happens and then while everything does.
func TestCluster(t *testing.T) {
	r := newReader(t)
	stage(t, "the README's words", r.installAndRemove)
	stage(t, "kubectl apply -k config/default", r.installDefault)
	kubectl(t, "create", "namespace", "apps")
	v := newView(t)
	stage(t, "three media servers", func(t *testing.T) {
		// What is to end keeps its channels for a while: here for so short a one that many rounds are bearable.
		kubectl(t, "--namespace="+tenant, "set", "env", "statefulset/nagi-mediaserver", "DRAIN_TIMEOUT=1s")
		began := time.Now()
		kubectl(t, "--namespace="+tenant, "scale", "statefulset", "nagi-mediaserver", "--replicas=3")
		proveReadySoon(t, "three media servers", began)
	})
	stage(t, "network policies", networkPolicies)
	stage(t, "Prometheus", r.monitoring)
	stage(t, "through the Services", func(t *testing.T) { r.throughServices(t, v) })
	stage(t, "the words of docs/operations.md", func(t *testing.T) {
		r.does(t, r.says(t, "docs/operations.md", "## What to look at")...)
		r.upToTheQuota(t)
	})
	stage(t, "Chromium with sora-js-sdk", r.inBrowsers)
	r.faults(t, v)
	stage(t, "cert-manager", func(t *testing.T) { r.certManager(t, v) })
	stage(t, "removal", func(t *testing.T) {
		r.does(t, "kubectl delete -k config/default")
		proveNothingLeft(t)
	})
}

// installAndRemove does what the README says, but for the registry, which this cluster has none of: between the images
// and the manifests the images come to the nodes as docs/install.md says.
func (r *reader) installAndRemove(t *testing.T) {
	images := r.says(t, "docs/install.md", "## 1. Images")
	installing := r.says(t, "README.md", "## Install it")
	if installing[0] != images[0] {
		t.Fatalf("the README begins with %q, docs/install.md with %q", installing[0], images[0])
	}
	r.does(t, images...)
	began := time.Now()
	r.does(t, installing[1:]...)
	proveReadySoon(t, "the README's words", began)
	r.does(t, r.says(t, "docs/install.md", "## 4. Look")...)
	r.does(t, r.says(t, "docs/install.md", "## Upgrading, and removing")...)
	proveNothingLeft(t)
}

// installDefault installs config/default as it is: its images the nodes have from the beginning.
func (r *reader) installDefault(t *testing.T) {
	began := time.Now()
	r.does(t, "kubectl apply -k config/default")
	r.does(t, r.says(t, "docs/install.md", "## 3. Who the clients are")...)
	proveReadySoon(t, "kubectl apply -k config/default", began)
}
