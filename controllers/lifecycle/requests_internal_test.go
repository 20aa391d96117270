package lifecycle

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRequestsForTheLeaseThatFailForItsDurationAreTold(t *testing.T) {
	leases := schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	forbidden := apierrors.NewForbidden(leases, LeaseName, errors.New("no role"))
	absent := apierrors.NewNotFound(leases, LeaseName)
	type step struct {
		second int
		// record is what is read; empty: err is of a write, nil for one that succeeds.
		record string
		read   error
		write  error
		wrote  bool
	}
	for what, c := range map[string]struct {
		steps []step
		want  string // empty: nothing is told
	}{
		"not for long enough": {steps: []step{{second: 0, read: forbidden}, {second: 14, read: forbidden}}},
		"reads": {
			steps: []step{{second: 0, read: forbidden}, {second: 8, read: forbidden}, {second: 15, read: forbidden}},
			want:  "bind the role nagi-manager to the manager's ServiceAccount in --lease-namespace=here",
		},
		"reads, mended": {
			steps: []step{{second: 0, read: forbidden}, {second: 15, read: forbidden}, {second: 16, record: "x"}},
		},
		"nobody has made it yet": {steps: []step{{second: 0, read: absent}, {second: 20, read: absent}}},
		"creations": {steps: []step{
			{second: 0, read: absent}, {second: 0, write: absent}, {second: 15, read: absent}, {second: 15, write: absent},
		}, want: "--lease-namespace=here is to name a namespace that there is"},
		"updates of a lease left behind": {steps: []step{
			{second: 0, record: "x"}, {second: 1, write: forbidden}, {second: 9, record: "x"}, {second: 9, write: forbidden},
			{second: 16, record: "x"}, {second: 16, write: forbidden},
		}, want: "bind the role"},
		"another renews it": {steps: []step{
			{second: 0, record: "x"}, {second: 1, write: forbidden}, {second: 9, record: "y"}, {second: 20, write: forbidden},
		}},
		"updates, mended": {
			steps: []step{{second: 0, write: forbidden}, {second: 15, write: forbidden}, {second: 16, wrote: true}},
		},
		"not standing meanwhile": {steps: []step{{second: 0, write: forbidden}, {second: 30, write: forbidden}}},
		"no answer": {
			steps: []step{{second: 0, read: errors.New("refused")}, {second: 15, read: errors.New("refused")}},
			want:  "refused",
		},
	} {
		t.Run(what, func(t *testing.T) {
			var log bytes.Buffer
			r := &requests{limit: 15 * time.Second, namespace: "here", log: slog.New(slog.NewTextHandler(&log, nil))}
			start := time.Now()
			for _, s := range c.steps {
				now := start.Add(time.Duration(s.second) * time.Second)
				switch {
				case s.wrote || s.write != nil:
					r.written(s.write, now)
				default:
					r.read([]byte(s.record), s.read, now)
				}
			}
			err := r.failing()
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("told %v, want %q", err, c.want)
			}
			said := strings.Count(log.String(), "level=ERROR")
			if mended := strings.Contains(what, "mended"); mended != strings.Contains(log.String(), "can be had again") ||
				(said == 1) != (c.want != "" || mended) {
				t.Errorf("the log has\n%s", &log)
			}
		})
	}
}
