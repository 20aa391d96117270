package tables_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/held"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// The golden file holds digests too: they must be the same in every version.
func TestGoldenPauses(t *testing.T) {
	data, err := os.ReadFile("testdata/all.objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list v1alpha1.RtpStreamPauseList
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		t.Fatal(err)
	}
	rules := map[string]any{}
	for i := range list.Items {
		pause, err := tables.Pause(held.New(&list.Items[i]))
		switch {
		case err != nil:
			rules[list.Items[i].Name] = err.Error()
		case pause == nil:
			rules[list.Items[i].Name] = "no rule"
		default:
			rules[list.Items[i].Name] = values(t, pause)
		}
	}
	got, err := yaml.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	const path = "testdata/all.pauses.yaml"
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test with -update", err)
	}
	if string(got) != string(want) {
		t.Errorf("the rules differ from %s:\n%s", path, got)
	}
}

// values are what protojson says, which varies its spaces on purpose.
func values(t *testing.T, pause *forwardingv1.Pause) any {
	t.Helper()
	encoded, err := protojson.Marshal(pause)
	if err != nil {
		t.Fatal(err)
	}
	var result any
	if err := json.Unmarshal(encoded, &result); err != nil {
		t.Fatal(err)
	}

	return result
}

func TestASideThatIsNotKnownPutsNoRule(t *testing.T) {
	o := &v1alpha1.RtpStreamPause{}
	o.Spec.Receivers.Everyone = &v1alpha1.Everyone{}
	if pause, err := tables.Pause(held.New(o)); pause != nil || !errors.Is(err, tables.ErrNotUnderstood) {
		t.Errorf("an unset side is read as %v, %v", pause, err)
	}
	if tables.Digest(held.New(o)) != [forwardingv1.DigestBytes]byte{} {
		t.Error("it has a digest")
	}
}

func TestPauseProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := object().Draw(t, "a"), object().Draw(t, "b")
		pause, err := tables.Pause(held.New(a))
		if err != nil {
			t.Fatal(err)
		}
		if a.DeletionTimestamp != nil {
			if pause != nil {
				t.Fatal("what is being deleted puts a rule")
			}

			return
		}
		other, _ := tables.Pause(held.New(b))
		if other != nil {
			other.Uid, pause.Uid = "", ""
			if same := tables.Digest(held.New(a)) == tables.Digest(held.New(b)); same != equal(pause, other) {
				t.Fatalf("equal digests: %v, of %v and %v", same, pause, other)
			}
		}
		before := tables.Digest(held.New(a))
		a.Status = v1alpha1.RtpStreamPauseStatus{ObservedGeneration: 9, MediaServer: "m"}
		a.ResourceVersion, a.Name, a.UID = "99", "renamed", "another"
		if tables.Digest(held.New(a)) != before {
			t.Fatal("the status or the name matters")
		}
		a.Generation += 2 // Edited, and edited back.
		if tables.Digest(held.New(a)) == before {
			t.Fatal("the generation does not matter")
		}
	})
}

// equal compares but for the order of ids.
func equal(a, b *forwardingv1.Pause) bool {
	for _, side := range []*forwardingv1.Side{a.GetReceivers(), a.GetSenders(), b.GetReceivers(), b.GetSenders()} {
		slices.Sort(side.GetConnectionIds().GetIds())
		slices.Sort(side.GetClientIds().GetIds())
	}
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	a.Digest, b.Digest = nil, nil

	return proto.Equal(a, b)
}

func TestTheOldestAct(t *testing.T) {
	const beyond = 7
	objects := make([]*held.Pause, tables.MaxPauses+beyond)
	for i := range objects {
		objects[i] = held.New(small(i, time.Unix(int64(1000+i/2), 0)))
	}
	inTheWay := small(-1, time.Unix(1, 0))
	inTheWay.Spec.Receivers = v1alpha1.Side{}
	shuffled := append(slices.Clone(objects), held.New(inTheWay))
	slices.Reverse(shuffled)
	acting, refused := tables.Admit(shuffled)
	if !slices.Equal(acting, objects[:tables.MaxPauses]) || !slices.Equal(refused, objects[tables.MaxPauses:]) {
		t.Errorf("%d act and %d are refused, or not the oldest", len(acting), len(refused))
	}
}

func TestBytesAreBounded(t *testing.T) {
	var objects []*held.Pause
	for i := range 2000 {
		o := small(i, time.Unix(int64(i), 0))
		for j := range 64 {
			o.Spec.Senders.ClientIDs = append(o.Spec.Senders.ClientIDs, fmt.Sprintf("%0250d", j))
		}
		objects = append(objects, held.New(o))
	}
	acting, refused := tables.Admit(objects)
	size := 0
	for _, o := range acting {
		pause, _ := tables.Pause(o)
		size += proto.Size(pause)
	}
	if size > tables.MaxBytes || size < tables.MaxBytes-64*256 || len(acting)+len(refused) != len(objects) ||
		len(refused) == 0 {
		t.Errorf("%d pauses of %d bytes act, %d are refused", len(acting), size, len(refused))
	}
}

func small(i int, created time.Time) *v1alpha1.RtpStreamPause {
	o := &v1alpha1.RtpStreamPause{
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(fmt.Sprintf("%06d", i)), CreationTimestamp: metav1.NewTime(created)},
	}
	o.Spec.Receivers.ConnectionIDs, o.Spec.Senders.ClientIDs = []string{"R"}, []string{"S"}

	return o
}

func object() *rapid.Generator[*v1alpha1.RtpStreamPause] {
	ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab]{1,2}`), 1, 3, rapid.ID)
	side := rapid.Custom(func(t *rapid.T) v1alpha1.Side {
		switch rapid.IntRange(0, 3).Draw(t, "side") {
		case 0:
			return v1alpha1.Side{ConnectionIDs: ids.Draw(t, "connections")}
		case 1:
			return v1alpha1.Side{ClientIDs: ids.Draw(t, "clients")}
		case 2:
			return v1alpha1.Side{Everyone: &v1alpha1.Everyone{}}
		default:
			return v1alpha1.Side{EveryoneExcept: &v1alpha1.EveryoneExcept{
				ClientIDs: []string{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "except")},
			}}
		}
	})

	return rapid.Custom(func(t *rapid.T) *v1alpha1.RtpStreamPause {
		o := small(rapid.IntRange(0, 9).Draw(t, "uid"), time.Unix(int64(rapid.IntRange(1, 2).Draw(t, "created")), 0))
		o.Generation = rapid.Int64Range(1, 9).Draw(t, "generation")
		o.Spec.Receivers, o.Spec.Senders = side.Draw(t, "receivers"), side.Draw(t, "senders")
		o.Spec.Kinds = rapid.SampledFrom([][]v1alpha1.Kind{
			nil, {v1alpha1.KindVideo}, {v1alpha1.KindVideo, v1alpha1.KindAudio}, {v1alpha1.KindAudio, v1alpha1.KindVideo},
		}).Draw(t, "kinds")
		o.Spec.Reason = rapid.SampledFrom([]string{"", "test"}).Draw(t, "reason")
		if rapid.Bool().Draw(t, "ends") {
			o.Spec.ExpiresAt = &metav1.Time{Time: time.Unix(int64(rapid.IntRange(5, 6).Draw(t, "end")), 0)}
		}
		if rapid.Bool().Draw(t, "deleted") {
			o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}

		return o
	})
}
