package objects

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

const benchObjects = 10_000

// pages answers lists from memory, as the API server would.
type pages struct {
	items  []json.RawMessage
	bodies map[string][]byte
}

// newPages makes objects as they are stored once their status is written.
func newPages(b *testing.B, n int) *pages {
	b.Helper()
	p := &pages{}
	for i := range n {
		o := pauseOf("tenant", fmt.Sprint("pause-", i), fmt.Sprint("channel-", i/10))
		o.APIVersion, o.Kind = v1alpha1.GroupVersion.String(), "RtpStreamPause"
		o.UID, o.ResourceVersion = types.UID(fmt.Sprintf("%08d-7ac1-4184-b880-6f0cb3fbb58e", i)), strconv.Itoa(i+1)
		o.Generation, o.CreationTimestamp = 1, metav1.Now()
		o.Labels = map[string]string{"app.kubernetes.io/managed-by": "nagi-shim"}
		o.Spec.Receivers = v1alpha1.Side{ConnectionIDs: []string{fmt.Sprintf("VTGYC92AZX6M72K860B%07d", i)}}
		o.Spec.Senders = v1alpha1.Side{ConnectionIDs: []string{fmt.Sprintf("3X0W1C23KS1TQAAYMKA%07d", i)}}
		o.Spec.Kinds = []v1alpha1.Kind{v1alpha1.KindVideo}
		o.Status = v1alpha1.RtpStreamPauseStatus{ObservedGeneration: 1, MediaServer: "media-1"}
		for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionEnforced} {
			o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{
				Type: condition, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonEnforced, ObservedGeneration: 1,
				LastTransitionTime: metav1.Now(),
				Message:            "every media server that hosts the channel withholds the edges that match",
			})
		}
		fields := `{"f:spec":{".":{},"f:channelID":{},"f:kinds":{},"f:receivers":{},"f:senders":{}},` +
			`"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:message":{},"f:reason":{},"f:status":{}}}}}`
		for _, manager := range []string{"shim", "manager"} {
			o.ManagedFields = append(o.ManagedFields, metav1.ManagedFieldsEntry{
				Manager:    manager,
				Operation:  metav1.ManagedFieldsOperationApply,
				APIVersion: o.APIVersion,
				FieldsType: "FieldsV1",
				FieldsV1:   metav1.NewFieldsV1(fields),
			})
		}
		raw, err := json.Marshal(o)
		if err != nil {
			b.Fatal(err)
		}
		p.items = append(p.items, raw)
	}

	return p.fold(b)
}

func (p *pages) RoundTrip(request *http.Request) (*http.Response, error) {
	body := p.bodies[request.URL.Query().Get("continue")]

	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), Request: request}, nil
}

// fold makes the answers of the objects.
func (p *pages) fold(b *testing.B) *pages {
	b.Helper()
	p.bodies = map[string][]byte{}
	for from := 0; from < len(p.items); from += pageSize {
		var answer page
		answer.Items = p.items[from:min(from+pageSize, len(p.items))]
		answer.Metadata.ResourceVersion = strconv.Itoa(len(p.items))
		name := ""
		if from > 0 {
			name = strconv.Itoa(from)
		}
		if from+pageSize < len(p.items) {
			answer.Metadata.Continue = strconv.Itoa(from + pageSize)
		}
		body, err := json.Marshal(answer)
		if err != nil {
			b.Fatal(err)
		}
		p.bodies[name] = body
	}

	return p
}

// edit changes every nth object, as a restored etcd may.
func (p *pages) edit(b *testing.B, n int) *pages {
	b.Helper()
	edited := &pages{}
	for i, raw := range p.items {
		if i%n == 0 {
			raw = bytes.Replace(raw, []byte(`"kinds":["Video"]`), []byte(`"kinds":["Audio"]`), 1)
		}
		edited.items = append(edited.items, raw)
	}

	return edited.fold(b)
}

func listFrom(b *testing.B, p *pages, known state) state {
	b.Helper()
	c, err := newConnection(&rest.Config{Host: "http://pages", Transport: p}, "tenant")
	if err != nil {
		b.Fatal(err)
	}
	all, _, err := c.list(context.Background(), known)
	if err != nil || all.count() != len(p.items) {
		b.Fatalf("%d of %d objects: %v", all.count(), len(p.items), err)
	}

	return all
}

// BenchmarkInitialList lists 10,000 objects, and tells what holding one costs.
func BenchmarkInitialList(b *testing.B) {
	p := newPages(b, benchObjects)
	memory := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)

		return int64(m.HeapAlloc)
	}
	with := func() int64 {
		var all state
		for b.Loop() {
			all = listFrom(b, p, newState())
		}
		with := memory()
		runtime.KeepAlive(all)

		return with
	}()
	b.ReportMetric(float64(with-memory())/benchObjects, "heap-B/object")
	runtime.KeepAlive(p)
}

// BenchmarkListAnew lists 10,000 objects that are held, and compares: nothing has
// changed, one in a hundred has, every one has.
func BenchmarkListAnew(b *testing.B) {
	p := newPages(b, benchObjects)
	held := listFrom(b, p, newState())
	for name, now := range map[string]*pages{"same": p, "hundredth": p.edit(b, 100), "all": p.edit(b, 1)} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = len(differences(held, listFrom(b, now, held)))
			}
			b.ReportMetric(float64(n), "differences")
		})
	}
}
