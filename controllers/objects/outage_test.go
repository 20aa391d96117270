package objects

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/api/v1alpha1"
)

// within is what a pause may take to act once the API server is ready again.
const within = 2 * time.Second

func TestAfterAnOutageOfTheAPIServerPausesActAtOnce(t *testing.T) {
	for name, few := range map[string]int{"few": 0, "many": 1} {
		t.Run(name, func(t *testing.T) { outage(t, few) })
	}
}

func outage(t *testing.T, few int) {
	t.Helper()
	namespace := newNamespace(t)
	kept, goes := create(t, namespace, "kept"), create(t, namespace, "goes")
	s := follow(t, Config{Namespace: namespace, few: few})
	s.ready()
	plane.api.kill()
	s.until("the store is stale", s.Stale)
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "is the API server reachable?") {
		t.Errorf("without an API server: %v", err)
	}
	if s.Get("kept") == nil {
		t.Error("what was held is gone with the API server")
	}
	s.until("stale seconds are told", func() bool { return s.value("nagi_objects_stale_seconds") > 0.5 })
	if err := plane.startAPIServer(); err != nil {
		t.Fatal(err)
	}
	ready := time.Now()
	s.until("the creation is accepted", func() bool {
		return k8s.Create(context.Background(), pauseOf(namespace, "new", "lobby")) == nil
	})
	s.until("the creation is told", func() bool { return s.tells("new") })
	if took := time.Since(ready); took > within {
		t.Errorf("told %s after /readyz was 200", took)
	} else {
		t.Logf("told %s after /readyz was 200", took)
	}
	remove(t, goes)
	update(t, kept, "later")
	s.until("the store equals etcd", s.equalsEtcd)
	s.ready()
}

func TestRestoredEtcdIsFollowedBackwards(t *testing.T) {
	namespace := newNamespace(t)
	before := populate(t, namespace)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := plane.backUp(backup); err != nil {
		t.Fatal(err)
	}
	s := follow(t, Config{Namespace: namespace})
	s.ready()
	change(t, s, before)
	held := s.Version()
	if err := plane.restore(backup); err != nil {
		t.Fatal(err)
	}
	ready := time.Now()
	s.until("the store equals the restored etcd", func() bool { return !s.Stale() && s.equalsEtcd() })
	if took := time.Since(ready); took > within {
		t.Errorf("equal %s after /readyz was 200", took)
	}
	s.until("the version has gone back", func() bool { return s.Version() < held })
	if !strings.Contains(s.log.String(), "gone back to an older state") {
		t.Error("the log does not tell that the state is older")
	}
	create(t, namespace, "after")
	s.until("the creation is told", func() bool { return s.tells("after") })
}

// The store is cut off while etcd is restored and goes on beyond the version that
// the store holds: a watch from that version would succeed.
func TestRestoredEtcdThatHasPassedTheOldVersion(t *testing.T) {
	namespace := newNamespace(t)
	before := populate(t, namespace)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := plane.backUp(backup); err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, plane)
	s := follow(t, Config{Namespace: namespace, REST: p.config})
	s.ready()
	change(t, s, before)
	held := s.Version()
	p.refuses(true)
	if err := plane.restore(backup); err != nil {
		t.Fatal(err)
	}
	elsewhere := newNamespace(t)
	for i := 0; ; i++ {
		o := create(t, elsewhere, fmt.Sprint("p", i))
		if v, _ := parseVersion(o.ResourceVersion); v > held+10 {
			break
		}
	}
	calls := s.callCount()
	p.refuses(false)
	s.until("the store equals the restored etcd", func() bool { return !s.Stale() && s.equalsEtcd() })
	if s.Version() < held {
		t.Errorf("version %d, was to pass %d", s.Version(), held)
	}
	if n := s.callsWithChanges(calls); n != 1 {
		t.Errorf("the differences came in %d calls", n)
	}
}

func populate(t *testing.T, namespace string) []*v1alpha1.RtpStreamPause {
	t.Helper()
	result := make([]*v1alpha1.RtpStreamPause, 0, 30)
	for i := range 30 {
		result = append(result, create(t, namespace, fmt.Sprint("before-", i)))
	}

	return result
}

// change edits, deletes, replaces and creates, so that a restored etcd differs in
// every way.
func change(t *testing.T, s *following, before []*v1alpha1.RtpStreamPause) {
	t.Helper()
	for i, o := range before {
		switch i % 4 {
		case 0:
			update(t, o, "edited")
		case 1:
			remove(t, o)
		case 2:
			remove(t, o)
			create(t, o.Namespace, o.Name)
		}
		create(t, o.Namespace, fmt.Sprint("since-", i))
	}
	s.until("the store equals etcd", s.equalsEtcd)
}
