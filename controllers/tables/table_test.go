package tables_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
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
	"github.com/nagi-rtc/nagi/controllers/tables"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestGoldenTables(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.objects.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(input, ".objects.yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			var list v1alpha1.RtpStreamPauseList
			if err := yaml.UnmarshalStrict(data, &list); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, name+".table.yaml", tables.Table("lobby", 42, pointers(list.Items)))
		})
	}
}

// compareGolden goes through YAML values, since protojson varies its spaces on
// purpose.
func compareGolden(t *testing.T, path string, table *forwardingv1.Table) {
	t.Helper()
	encoded, err := protojson.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.JSONToYAML(encoded)
	if err != nil {
		t.Fatal(err)
	}
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
		t.Errorf("table differs from %s:\n%s", path, got)
	}
}

func pointers(items []v1alpha1.RtpStreamPause) []*v1alpha1.RtpStreamPause {
	result := make([]*v1alpha1.RtpStreamPause, len(items))
	for i := range items {
		result[i] = &items[i]
	}

	return result
}

func TestTableProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		objects := rapid.SliceOfNDistinct(object(), 0, 12, func(o *v1alpha1.RtpStreamPause) types.UID { return o.UID }).Draw(t, "objects")
		table := tables.Table("a", 7, objects)

		acting := 0
		for _, o := range objects {
			if o.Spec.ChannelID == "a" && o.DeletionTimestamp == nil {
				acting++
			}
		}
		if len(table.GetPauses()) != acting {
			t.Fatalf("%d pauses of %d acting objects", len(table.GetPauses()), acting)
		}
		for i, p := range table.GetPauses() {
			if len(p.GetKinds()) == 0 {
				t.Fatalf("pause without kinds: %v", p)
			}
			if i > 0 && p.GetUid() <= table.GetPauses()[i-1].GetUid() {
				t.Fatal("not ordered by uid")
			}
		}
		shuffled := rapid.Permutation(objects).Draw(t, "shuffled")
		if !proto.Equal(table, tables.Table("a", 7, shuffled)) {
			t.Fatal("the order of the objects matters")
		}
		for _, o := range objects {
			o.Status = v1alpha1.RtpStreamPauseStatus{ObservedGeneration: 9, MediaServer: "m"}
			o.ResourceVersion = "99"
		}
		if !proto.Equal(table, tables.Table("a", 7, objects)) {
			t.Fatal("the status matters")
		}
	})
}

func object() *rapid.Generator[*v1alpha1.RtpStreamPause] {
	return rapid.Custom(func(t *rapid.T) *v1alpha1.RtpStreamPause {
		o := &v1alpha1.RtpStreamPause{}
		o.UID = types.UID(rapid.StringMatching(`[a-z]{3}`).Draw(t, "uid"))
		o.Generation = rapid.Int64Range(1, 9).Draw(t, "generation")
		o.Spec.ChannelID = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "channel")
		o.Spec.Kinds = rapid.SampledFrom([][]v1alpha1.Kind{nil, {v1alpha1.KindVideo}, {v1alpha1.KindVideo, v1alpha1.KindAudio}}).Draw(t, "kinds")
		if rapid.Bool().Draw(t, "deleted") {
			o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}

		return o
	})
}
