package v1alpha1_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
	apply "github.com/nagi-rtc/nagi/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// applied applies a pause of one spec under a name, as owner.
func applied(
	t *testing.T, owner client.FieldOwner, name string, spec *apply.RtpStreamPauseSpecApplyConfiguration,
	options ...client.ApplyOption,
) error {
	t.Helper()

	return api.Apply(t.Context(), apply.RtpStreamPause(name, namespace).WithSpec(spec), append(options, owner)...)
}

// specOf is the spec as JSON has it.
func specOf(t *testing.T, name string) string {
	t.Helper()
	var object v1alpha1.RtpStreamPause
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &object); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(object.Spec)
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}

func spec() *apply.RtpStreamPauseSpecApplyConfiguration {
	return apply.RtpStreamPauseSpec().WithChannelID("sora").WithSenders(apply.Side().WithClientIDs("camera-3"))
}

// A side is one value: the ids of two appliers never unite, a second applier learns
// of the first, and by force it takes the side over, whatever it held.
func TestTwoAppliersOfOneSide(t *testing.T) {
	clients := func(ids ...string) *apply.SideApplyConfiguration { return apply.Side().WithClientIDs(ids...) }
	everyone := func() *apply.SideApplyConfiguration { return apply.Side().WithEveryone(v1alpha1.Everyone{}) }
	for name, test := range map[string]struct {
		first, second *apply.SideApplyConfiguration
		want          string
	}{
		"clients-clients":  {clients("alice"), clients("bob"), `{"clientIDs":["bob"]}`},
		"everyone-clients": {everyone(), clients("bob"), `{"clientIDs":["bob"]}`},
		"clients-everyone": {clients("alice"), everyone(), `{"everyone":{}}`},
		"clients-connections": {
			clients("alice"), apply.Side().WithConnectionIDs("A"), `{"connectionIDs":["A"]}`,
		},
		"exception-exception": {
			apply.Side().WithEveryoneExcept(apply.EveryoneExcept().WithClientIDs("a")),
			apply.Side().WithEveryoneExcept(apply.EveryoneExcept().WithConnectionIDs("A")),
			`{"everyoneExcept":{"connectionIDs":["A"]}}`,
		},
		"everyone-exception": {
			everyone(), apply.Side().WithEveryoneExcept(apply.EveryoneExcept().WithClientIDs("a")),
			`{"everyoneExcept":{"clientIDs":["a"]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { kubectl(t, "delete", "rsp", name) })
			if err := applied(t, "first", name, spec().WithReceivers(test.first)); err != nil {
				t.Fatal(err)
			}
			before := specOf(t, name)

			err := applied(t, "second", name, spec().WithReceivers(test.second))
			if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "first": .spec.receivers`) {
				t.Errorf("got %v, want a conflict that names the first applier and the side", err)
			}
			if after := specOf(t, name); after != before {
				t.Errorf("refused, and yet %s became %s", before, after)
			}

			if err := applied(t, "second", name, spec().WithReceivers(test.second), client.ForceOwnership); err != nil {
				t.Fatalf("by force: %v", err)
			}
			want := `{"channelID":"sora","receivers":` + test.want + `,"senders":{"clientIDs":["camera-3"]}}`
			if got := specOf(t, name); got != want {
				t.Errorf("by force it became\n  %s\nwant\n  %s", got, want)
			}
			// And the first one finds itself refused now.
			if err := applied(t, "first", name, spec().WithReceivers(test.first)); !apierrors.IsConflict(err) {
				t.Errorf("got %v, want a conflict", err)
			}
		})
	}
}

// One applier changes its own side in one step and without force.
// Kinds are one value too: two appliers' kinds do not unite, and force makes them
// the last one's. What is left out is nobody's.
func TestTwoAppliersOfKinds(t *testing.T) {
	const name = "kinds"
	t.Cleanup(func() { kubectl(t, "delete", "rsp", name) })
	kinds := func(kinds ...v1alpha1.Kind) *apply.RtpStreamPauseSpecApplyConfiguration {
		return spec().WithReceivers(apply.Side().WithClientIDs("alice")).WithKinds(kinds...)
	}
	if err := applied(t, "first", name, kinds(v1alpha1.KindVideo, v1alpha1.KindAudio)); err != nil {
		t.Fatal(err)
	}
	if err := applied(t, "second", name, kinds(v1alpha1.KindVideo)); !apierrors.IsConflict(err) ||
		!strings.Contains(err.Error(), `conflict with "first": .spec.kinds`) {
		t.Errorf("got %v, want a conflict that names the first applier and kinds", err)
	}
	if err := applied(t, "second", name, kinds(v1alpha1.KindVideo), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	if got := specOf(t, name); !strings.Contains(got, `"kinds":["Video"]`) {
		t.Errorf("by force it became %s", got)
	}
	if err := applied(t, "second", name, kinds()); err != nil {
		t.Fatal(err)
	}
	if got := specOf(t, name); strings.Contains(got, "kinds") {
		t.Errorf("left out by its owner, and still there: %s", got)
	}
}

func TestOneApplierChangesASide(t *testing.T) {
	const name = "one-applier"
	t.Cleanup(func() { kubectl(t, "delete", "rsp", name) })
	for _, step := range []struct {
		side *apply.SideApplyConfiguration
		want string
	}{
		{apply.Side().WithEveryone(v1alpha1.Everyone{}), `{"everyone":{}}`},
		{apply.Side().WithClientIDs("alice", "bob"), `{"clientIDs":["alice","bob"]}`},
		{apply.Side().WithClientIDs("bob"), `{"clientIDs":["bob"]}`},
		{apply.Side().WithEveryoneExcept(apply.EveryoneExcept().WithClientIDs("bob")),
			`{"everyoneExcept":{"clientIDs":["bob"]}}`},
		{apply.Side().WithEveryone(v1alpha1.Everyone{}), `{"everyone":{}}`},
	} {
		if err := applied(t, "git", name, spec().WithReceivers(step.side)); err != nil {
			t.Fatalf("to %s: %v", step.want, err)
		}
		if got := specOf(t, name); !strings.Contains(got, `"receivers":`+step.want+`,`) {
			t.Errorf("got %s, want receivers %s", got, step.want)
		}
	}
	// A side that is applied no longer is a side without an owner, which goes: an
	// error, and not everybody.
	wantRefusal(t, applied(t, "git", name, spec()), noReceivers)
}

// Status is applied by its writer alone, who owns nothing of the spec.
func TestStatusIsApplied(t *testing.T) {
	object := stored(t, "status-applied", `{channelID: sora, `+all+`}`)
	status := apply.RtpStreamPause(object.GetName(), namespace).WithStatus(apply.RtpStreamPauseStatus().
		WithObservedGeneration(1).
		WithMediaServer("media-1").
		WithConditions(applymetav1.Condition().
			WithType(v1alpha1.ConditionReady).WithStatus(metav1.ConditionTrue).WithReason(v1alpha1.ReasonArmed).
			WithMessage("").WithLastTransitionTime(metav1.Now())))
	if err := api.Status().Apply(t.Context(), status, client.FieldOwner("nagi-manager")); err != nil {
		t.Fatal(err)
	}
	var got v1alpha1.RtpStreamPause
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), &got); err != nil {
		t.Fatal(err)
	}
	if got.Generation != 1 || got.Status.ObservedGeneration != 1 || len(got.Status.Conditions) != 1 {
		t.Errorf("generation %d, status %+v", got.Generation, got.Status)
	}
	extracted, err := apply.ExtractRtpStreamPauseStatus(&got, "nagi-manager")
	if err != nil {
		t.Fatal(err)
	}
	if extracted.Spec != nil || extracted.Status == nil || *extracted.Status.MediaServer != "media-1" {
		t.Errorf("the writer of the status owns %+v", extracted)
	}
}

// What client-side apply does over an object that `kubectl create` made: it has no
// record of what was sent, so it cannot tell that a member of a side is to go.
func TestClientSideApplyOverCreate(t *testing.T) {
	const created = `
apiVersion: rtp.nagi.dev/v1alpha1
kind: RtpStreamPause
metadata: {name: created}
spec: {channelID: sora, receivers: {everyone: {}}, senders: {clientIDs: [camera-3]}, reason: camera test}
`
	edited := strings.Replace(created, "{everyone: {}}", "{clientIDs: [alice]}", 1)
	edited = strings.Replace(edited, ", reason: camera test", "", 1)
	t.Cleanup(func() { kubectl(t, "delete", "rsp", "created") })
	if out, err := tryKubectl(t, created, "create", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// It warns, unites the members and is refused: nothing changes.
	out, err := tryKubectl(t, edited, "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "missing the kubectl.kubernetes.io/last-applied-configuration annotation") ||
		!strings.Contains(out, "spec.receivers"+exclusive) {
		t.Errorf("kubectl apply over create: %v\n%s", err, out)
	}

	// Exceptions do not exclude each other: both lists stay.
	t.Cleanup(func() { kubectl(t, "delete", "rsp", "created-exception") })
	exception := strings.Replace(strings.Replace(created, "everyone: {}", "everyoneExcept: {clientIDs: [alice]}", 1),
		"name: created", "name: created-exception", 1)
	if out, err := tryKubectl(t, exception, "create", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := tryKubectl(t, strings.Replace(exception, "clientIDs: [alice]", "connectionIDs: [A]", 1),
		"apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := specOf(t, "created-exception"), `"receivers":{"everyoneExcept":{"connectionIDs":["A"],`+
		`"clientIDs":["alice"]}}`; !strings.Contains(got, want) {
		t.Errorf("applied, it is\n  %s\nwant\n  %s", got, want)
	}

	// The same file first, then the edit: now the record is there.
	if out, err := tryKubectl(t, created, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := tryKubectl(t, edited, "apply", "-f", "-"); err != nil {
		t.Errorf("kubectl apply over apply: %v\n%s", err, out)
	}
	if got, want := specOf(t, "created"), `{"channelID":"sora","receivers":{"clientIDs":["alice"]},`+
		`"senders":{"clientIDs":["camera-3"]}}`; got != want {
		t.Errorf("applied, it is\n  %s\nwant\n  %s", got, want)
	}

	// Whoever goes on with server-side apply meets two owners.
	if diff := cmp.Diff([]string{"kubectl-client-side-apply", "kubectl-create"}, managers(t, "created")); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

// managers are the names of all owners of fields.
func managers(t *testing.T, name string) []string {
	t.Helper()
	var object v1alpha1.RtpStreamPause
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &object); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range object.ManagedFields {
		names = append(names, entry.Manager)
	}
	slices.Sort(names)

	return slices.Compact(names)
}

// Server-side apply over an object that `kubectl create` made is a conflict, and by
// force it takes the side over whole.
func TestServerSideApplyOverCreate(t *testing.T) {
	object := stored(t, "created",
		`{channelID: sora, receivers: {everyone: {}}, senders: {clientIDs: [camera-3]}, reason: camera test}`)
	side := spec().WithReceivers(apply.Side().WithClientIDs("alice"))
	if err := applied(t, "git", object.GetName(), side); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if err := applied(t, "git", object.GetName(), side, client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	// What it does not apply stays: reason is still the creator's.
	want := `{"channelID":"sora","receivers":{"clientIDs":["alice"]},"senders":{"clientIDs":["camera-3"]},` +
		`"reason":"camera test"}`
	if got := specOf(t, object.GetName()); got != want {
		t.Errorf("got\n  %s\nwant\n  %s", got, want)
	}
}
