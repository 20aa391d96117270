//go:build linux && cluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fault is something that happens to a running installation. It returns once it has been done, which its effects have
// not yet; settled tells what else, beside pods and media, is not yet as it has to be.
type fault struct {
	name    string
	do      func(t *testing.T, round int)
	settled func(ctx context.Context) error
}

func allFaults() []fault {
	return []fault{
		{name: "delete a manager", do: deletePod("nagi-manager")},
		{name: "delete a shim", do: deletePod("nagi-shim")},
		{name: "delete a media server", do: func(t *testing.T, _ int) {
			t.Helper()
			kubectl(t, "--namespace="+tenant, "delete", "--wait=false", "pod", busiest(t).Name)
		}},
		{name: "delete the manager in office", do: deleteLeader},
		{name: "restart managers", do: restart(system, "deployment/nagi-manager")},
		{name: "restart shims", do: restart(system, "deployment/nagi-shim")},
		{name: "restart media servers", do: restart(tenant, "statefulset/nagi-mediaserver")},
		{name: "drain a node", do: drain},
		{name: "media servers 3, 1, 3", do: scale},
		rotation(),
	}
}

// deletePod deletes one pod of a deployment, another one each time.
func deletePod(component string) func(*testing.T, int) {
	return func(t *testing.T, round int) {
		t.Helper()
		names := strings.Fields(
			kubectl(t, "--namespace="+system, "get", "pods", "--output=name", "--selector=app.kubernetes.io/name="+component),
		)
		kubectl(t, "--namespace="+system, "delete", "--wait=false", names[round%len(names)])
	}
}

// deleteLeader deletes the manager that writes status.
func deleteLeader(t *testing.T, _ int) {
	t.Helper()
	var lease coordinationv1.Lease
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "nagi-manager"}, &lease); err != nil {
		t.Fatal(err)
	}
	// A holder is a pod's name, and what makes one process of it another.
	pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	kubectl(t, "--namespace="+system, "delete", "--wait=false", "pod", pod)
}

func restart(namespace, what string) func(*testing.T, int) {
	return func(t *testing.T, _ int) {
		t.Helper()
		kubectl(t, "--namespace="+namespace, "rollout", "restart", what)
	}
}

// drain drains the node whose media server has the most channels, and lets it be used again.
func drain(t *testing.T, _ int) {
	t.Helper()
	node := busiest(t).Spec.NodeName
	kubectl(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s")
	kubectl(t, "uncordon", node)
}

// scale leaves one of three media servers, which has no channels, and brings the others back.
func scale(t *testing.T, _ int) {
	t.Helper()
	kubectl(t, "--namespace="+tenant, "delete", "pod", "nagi-mediaserver-0")
	await(t, "everything to be ready", func() error { return ready(t.Context()) })
	for _, replicas := range []int{1, 3} {
		kubectl(t, "--namespace="+tenant, "scale", "statefulset", "nagi-mediaserver", fmt.Sprint("--replicas=", replicas))
		await(t, "the media servers to come, or to go", func() error {
			var pods corev1.PodList
			err := api.List(t.Context(), &pods, client.InNamespace(tenant),
				client.MatchingLabels{"app.kubernetes.io/name": "nagi-mediaserver"})
			if err == nil && len(pods.Items) != replicas {
				err = fmt.Errorf("there are %d", len(pods.Items))
			}

			return err
		})
	}
}

// rotation has the managers make another authority, as docs/security.md says. It is over when all who are to trust it
// have been told of it.
func rotation() fault {
	var before string
	trusted := func(ctx context.Context, namespace string) (string, error) {
		var config corev1.ConfigMap
		err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "nagi-ca"}, &config)

		return config.Data["ca.crt"], err
	}

	return fault{
		name: "replace the authority",
		do: func(t *testing.T, _ int) {
			t.Helper()
			var err error
			if before, err = trusted(t.Context(), tenant); err != nil {
				t.Fatal(err)
			}
			kubectl(t, "delete", "secret", "nagi-ca", "-n", system)
		},
		settled: func(ctx context.Context) error {
			var secret corev1.Secret
			if err := api.Get(ctx, client.ObjectKey{Namespace: system, Name: "nagi-ca"}, &secret); err != nil {
				return err
			}
			for _, namespace := range []string{system, tenant} {
				now, err := trusted(ctx, namespace)
				if err != nil {
					return err
				}
				if now == before {
					return fmt.Errorf("nothing new is trusted in %s", namespace)
				}
			}

			return nil
		},
	}
}

// faults has everything happen to the installation, again and again, while it has pauses to enforce.
func (r *reader) faults(t *testing.T, v *view) {
	t.Helper()
	lessons := make([]*lesson, *channels)
	for i := range lessons {
		lessons[i] = newLesson(t, r, fmt.Sprintf("lesson-%d", i))
	}
	followClaims(t, lessons)
	stage(t, fmt.Sprintf("%d channels", len(lessons)), func(t *testing.T) {
		for _, l := range lessons {
			await(t, "everybody to get everybody", func() error { return l.flows(time.Now().Add(-time.Second)) })
			l.pause(t, v)
		}
		hosts := hostsOf(t)
		report(map[string]any{"channels": len(lessons), "by_media_server": hosts})
		if len(hosts) < 3 {
			t.Errorf("channels are on %v, want on all three media servers", hosts)
		}
	})
	for _, f := range allFaults() {
		stage(t, f.name, func(t *testing.T) {
			var took, silences []time.Duration
			for round := range *rounds {
				seconds, silent := f.round(t, round, lessons, v)
				took, silences = append(took, seconds), append(silences, silent...)
			}
			slices.Sort(took)
			slices.Sort(silences)
			report(map[string]any{
				"fault": f.name, "rounds": len(took), "fastest_seconds": took[0].Seconds(),
				"median_seconds": took[len(took)/2].Seconds(), "slowest_seconds": took[len(took)-1].Seconds(),
				"moved": len(silences), "silence_p50_seconds": percentile(silences, 50),
				"silence_p99_seconds": percentile(silences, 99),
			})
		})
	}
}

// hostsOf counts the channels of each media server, as their Leases tell.
func hostsOf(t *testing.T) map[string]int {
	t.Helper()
	var leases coordinationv1.LeaseList
	if err := api.List(t.Context(), &leases, client.InNamespace(system), client.MatchingLabels{
		"rtp.nagi.dev/claim-of": tenant,
	}); err != nil {
		t.Fatal(err)
	}
	hosts := map[string]int{}
	for _, lease := range leases.Items {
		name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "/")
		hosts[name]++
	}

	return hosts
}

// busiest is the pod of the media server with the most channels.
func busiest(t *testing.T) corev1.Pod {
	t.Helper()
	hosts, name := hostsOf(t), ""
	for host, channels := range hosts {
		if channels > hosts[name] {
			name = host
		}
	}
	var pod corev1.Pod
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: tenant, Name: name}, &pod); err != nil {
		t.Fatal(err)
	}

	return pod
}

// percentile is one of sorted times, in seconds; 0 of none.
func percentile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}

	return sorted[min(len(sorted)*percent/100, len(sorted)-1)].Seconds()
}

// round has the fault happen once, waits until everything is as before, and proves that no packet left meanwhile that
// should not have. It returns how long that took, and for how long there was no media in each channel that moved.
func (f fault) round(
	t *testing.T, round int, lessons []*lesson, v *view,
) (took time.Duration, silences []time.Duration) {
	t.Helper()
	// A pause that is new, and one that has been resumed, are nothing else than those that stand.
	l := lessons[round%len(lessons)]
	l.resume(t)
	l.pause(t, v)

	joins, movers := joinsOf(lessons), map[*lesson]int64{}
	for _, l := range lessons {
		movers[l] = l.carol.joins.Load()
		l.silence()
	}
	began := time.Now()
	f.do(t, round)
	await(t, "everything to be as before, after: "+f.name, func() error {
		problems := []error{ready(t.Context())}
		if f.settled != nil {
			problems = append(problems, f.settled(t.Context()))
		}

		return errors.Join(problems...)
	})
	again := time.Now()
	defer func() {
		for _, l := range lessons {
			if err := l.flows(again); err != nil && t.Failed() {
				t.Logf("%v\n%s", err, l.look(t, v))
			}
		}
	}()
	await(t, "media and statuses to be as before, after: "+f.name, func() error {
		var problems []error
		for _, l := range lessons {
			problems = append(problems, l.flows(again), l.enforced(t.Context()), l.video.told())
		}

		return errors.Join(problems...)
	})
	took = time.Since(began)
	leaked, unclaimed := 0, 0
	for _, l := range lessons {
		left, early := l.video.leaks()
		leaked, unclaimed = leaked+left, unclaimed+early
		if silent := l.silence(); l.carol.joins.Load() > movers[l] {
			silences = append(silences, silent)
		}
	}
	report(map[string]any{
		"fault": f.name, "round": round + 1, "seconds": took.Seconds(), "connects": joinsOf(lessons) - joins,
		"leaked": leaked, "unclaimed": unclaimed,
	})
	if leaked > 0 {
		t.Errorf("%s, round %d: %d packets left on edges that were said to be enforced", f.name, round+1, leaked)
	}

	return took, silences
}

// joinsOf counts how often clients have connected.
func joinsOf(lessons []*lesson) int64 {
	var joins int64
	for _, l := range lessons {
		joins += l.alice.joins.Load() + l.bob.joins.Load() + l.carol.joins.Load()
	}

	return joins
}
