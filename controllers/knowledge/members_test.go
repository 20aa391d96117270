package knowledge

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
)

// follower keeps the members that a stream is told, as a media server does.
type follower struct {
	*Session

	known    map[string]*forwardingv1.Member
	key      []byte
	messages int
}

// hear takes all that the stream is told.
func (f *follower) hear(t testing.TB) {
	t.Helper()
	for _, o := range drain(f.Session) {
		if o.Members == nil {
			continue
		}
		f.messages++
		if o.Members.GetWhole() {
			f.known, f.key = map[string]*forwardingv1.Member{}, o.Members.GetKey()
		}
		if f.known == nil {
			t.Fatal("a difference comes first")
		}
		if len(o.Members.GetSet())+len(o.Members.GetRemoved()) > membersTold {
			t.Errorf("%d members in a message", len(o.Members.GetSet())+len(o.Members.GetRemoved()))
		}
		for _, member := range o.Members.GetSet() {
			f.known[member.GetName()] = member
		}
		for _, name := range o.Members.GetRemoved() {
			delete(f.known, name)
		}
	}
}

func (f *follower) knows() []string { return slices.Sorted(maps.Keys(f.known)) }

// newMembership is a namespace whose replica has listened for long enough.
func newMembership() (w *world, after func(time.Duration), now func() time.Time) {
	w = listed()
	w.synced = start
	at := start
	after = func(d time.Duration) {
		for end := at.Add(d); at.Before(end); {
			at = at.Add(tick)
			w.pass(at)
		}
	}

	return w, after, func() time.Time { return at }
}

func TestMembersAreToldWhoTheOthersAre(t *testing.T) {
	w, after, now := newMembership()
	a := &follower{Session: w.introduced(t, "a", now(), func(i *Introduction) {
		i.PodUID, i.SignalingURL = "uid-a", "wss://a/signaling"
	})}
	w.introduced(t, "b", now(), nil)
	after(OfficeBeforeArmed - tick)
	if a.hear(t); a.messages > 0 {
		t.Error("told before the others may have come")
	}
	after(2 * tick)
	a.hear(t)
	if m := a.known["a"]; !slices.Equal(a.knows(), []string{"a", "b"}) || m.GetPodUid() != "uid-a" ||
		m.GetPeerAddress() != "a:7440" || m.GetSignalingUrl() != "wss://a/signaling" || m.GetDraining() {
		t.Errorf("knows %v", a.known)
	}
	if len(a.key) != memberKeyBytes || bytes.Equal(a.key, make([]byte, memberKeyBytes)) ||
		bytes.Equal(a.key, listed().members.key) {
		t.Errorf("the key is %x", a.key)
	}
	c := &follower{Session: w.introduced(t, "c", now(), nil)}
	after(membersEvery)
	c.hear(t)
	a.hear(t)
	for _, f := range []*follower{a, c} {
		if !slices.Equal(f.knows(), []string{"a", "b", "c"}) {
			t.Errorf("knows %v", f.knows())
		}
	}
	if !bytes.Equal(a.key, c.key) {
		t.Error("the keys differ")
	}
	c.Standing(true)
	after(membersEvery)
	if a.hear(t); !a.known["c"].GetDraining() || a.messages != 3 {
		t.Errorf("c is known as %v, after %d messages", a.known["c"], a.messages)
	}
	c.Standing(true)
	after(membersEvery)
	if a.hear(t); a.messages != 3 {
		t.Error("what has not changed is told")
	}
	c.Close(now())
	// One that is back before anybody is told has not been away.
	b := w.introduced(t, "b", now(), nil)
	b.Close(now())
	w.introduced(t, "b", now(), nil)
	after(membersEvery)
	if a.hear(t); !slices.Equal(a.knows(), []string{"a", "b"}) {
		t.Errorf("knows %v", a.knows())
	}
	a.Close(now())
	after(membersEvery)
	if a.hear(t); a.messages != 4 {
		t.Error("told after its end")
	}
}

// Hundreds that come within a second are told of the others in some
// messages each, and know all of them in the end; as do those of a restarted manager.
func TestManyMembersThatComeAtOnceAreToldByTheHundred(t *testing.T) {
	const servers = 300
	for name, wait := range map[string]time.Duration{"as a manager begins": 0, "later": time.Minute} {
		t.Run(name, func(t *testing.T) {
			w, after, now := newMembership()
			after(wait)
			all := make([]*follower, 0, servers)
			for i := range servers {
				all = append(all, &follower{Session: w.introduced(t, fmt.Sprint("sfu-", i), now(), nil)})
				if i%40 == 0 {
					after(tick)
					for _, f := range all {
						f.hear(t)
					}
				}
			}
			after(OfficeBeforeArmed)
			messages := 0
			for _, f := range all {
				f.hear(t)
				messages += f.messages
				if len(f.known) != servers {
					t.Fatalf("knows %d of %d", len(f.known), servers)
				}
			}
			if most := 10 * servers; messages > most {
				t.Errorf("%d messages, want %d at most", messages, most)
			}
			t.Logf("%d messages", messages)
		})
	}
}

// Who has not read for so long that the changes are forgotten is told everything anew.
func TestASlowStreamIsToldAllMembers(t *testing.T) {
	w, after, now := newMembership()
	after(time.Minute)
	slow := &follower{Session: w.introduced(t, "slow", now(), nil)}
	gone := w.introduced(t, "gone", now(), nil)
	after(membersEvery)
	slow.hear(t)
	gone.Close(now())
	for range membersRemembered {
		w.introduced(t, "restless", now(), nil)
	}
	after(membersEvery)
	slow.hear(t)
	if !slices.Equal(slow.knows(), []string{"restless", "slow"}) || slow.messages != 2 {
		t.Errorf("knows %v after %d messages", slow.knows(), slow.messages)
	}
}

// Tables go first, whatever there is to tell of members.
func TestMembersWaitForTables(t *testing.T) {
	w, after, now := newMembership()
	w.create("u")
	s := w.introduced(t, "a", now(), nil)
	must(t, s.Report(reportOf("lobby", 1, 1, 0, "R"), now()))
	after(OfficeBeforeArmed + tick)
	next := drain(s)
	if len(next) < 2 || next[0].Table == nil || next[len(next)-1].Members == nil {
		t.Errorf("told %+v", next)
	}
}
