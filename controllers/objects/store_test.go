package objects

import (
	"testing"
	"time"
)

func TestStoreFollowsCreationsEditsAndDeletions(t *testing.T) {
	namespace := newNamespace(t)
	first := create(t, namespace, "first")
	neighbour := newNamespace(t)
	create(t, neighbour, "elsewhere")
	s := follow(t, Config{Namespace: namespace})
	s.ready()
	if !s.tells("first") || s.tells("elsewhere") || !s.Synced() || s.Stale() {
		t.Fatalf("after the list: told %v, synced %t, stale %t", s.told(), s.Synced(), s.Stale())
	}
	second := create(t, namespace, "second")
	s.until("the creation is told", func() bool { return s.tells("second") })
	update(t, second, "camera test")
	s.until("the edit is told", func() bool { return s.told()["second"].Spec.Reason == "camera test" })
	remove(t, first)
	s.until("the deletion is told", func() bool { return !s.tells("first") })
	if s.Get("first") != nil || s.Get("second") != s.told()["second"] {
		t.Error("Get and Changed differ")
	}
	again := create(t, namespace, "first")
	s.until("the new one of that name is told", func() bool {
		o := s.told()["first"]

		return o != nil && o.UID == again.UID
	})
	if !s.equalsEtcd() {
		t.Error("the store differs from etcd")
	}
	if got := s.value("nagi_objects_held"); got != 2 {
		t.Errorf("nagi_objects_held is %v", got)
	}
	if got := s.value("nagi_objects_lists_total"); got != 1 {
		t.Errorf("%v lists", got)
	}
}

func TestWatchThatTimesOutGoesOnWithoutAList(t *testing.T) {
	namespace := newNamespace(t)
	s := follow(t, Config{Namespace: namespace, WatchTime: 2 * time.Second})
	s.ready()
	s.until("two watches have timed out", func() bool {
		return s.value("nagi_objects_watch_ends_total", "cause=timed_out") >= 2
	})
	create(t, namespace, "late")
	s.until("the creation is told", func() bool { return s.tells("late") })
	s.until("another watch has timed out", func() bool {
		return s.value("nagi_objects_watch_ends_total", "cause=timed_out") >= 3
	})
	if lists := s.value("nagi_objects_lists_total"); lists != 1 || s.timesStale() != 0 {
		t.Errorf("%v lists, stale %d times", lists, s.timesStale())
	}
}
