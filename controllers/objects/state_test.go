package objects

import (
	"fmt"
	"runtime"
	"testing"
)

// stored is an object as the API server sends it.
func stored(name, uid, version, reason string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"rtp.nagi.dev/v1alpha1","kind":"RtpStreamPause",
		"metadata":{"name":%q,"uid":%q,"resourceVersion":%q,"managedFields":[{"manager":"kubectl"}],
			"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}},
		"spec":{"channelID":"lobby","receivers":{"everyone":{}},"senders":{"everyone":{}},%s}}`, name, uid, version, reason)
}

func said(reason string) string { return fmt.Sprintf(`"reason":%q`, reason) }

const bad = `"expiresAt":"tomorrow"`

func stateOf(t *testing.T, known state, objects ...[]byte) state {
	t.Helper()
	all := newState()
	for _, raw := range objects {
		i, err := known.read(raw)
		if err != nil {
			t.Fatal(err)
		}
		all.put(i)
	}

	return all
}

func TestDifferences(t *testing.T) {
	one := stored("one", "u1", "5", said("a"))
	for name, c := range map[string]struct {
		before, after [][]byte
		want          []string // "uid@version>uid@version".
	}{
		"nothing":              {[][]byte{one}, [][]byte{one}, nil},
		"created":              {nil, [][]byte{one}, []string{">u1@5 a"}},
		"deleted":              {[][]byte{one}, nil, []string{"u1@5 a>"}},
		"edited":               {[][]byte{one}, [][]byte{stored("one", "u1", "6", said("b"))}, []string{"u1@5 a>u1@6 b"}},
		"gone back":            {[][]byte{one}, [][]byte{stored("one", "u1", "4", said("z"))}, []string{"u1@5 a>u1@4 z"}},
		"same version, other":  {[][]byte{one}, [][]byte{stored("one", "u1", "5", said("b"))}, []string{"u1@5 a>u1@5 b"}},
		"sent in another form": {[][]byte{one}, [][]byte{append([]byte(" "), one...)}, nil},
		"replaced": {
			[][]byte{one}, [][]byte{stored("one", "u2", "7", said("a"))}, []string{"u1@5 a>", ">u2@7 a"},
		},
		"stops decoding": {[][]byte{one}, [][]byte{stored("one", "u1", "6", bad)}, []string{"u1@5 a>"}},
		"mended": {
			[][]byte{stored("one", "u1", "6", bad)}, [][]byte{stored("one", "u1", "7", said("a"))}, []string{">u1@7 a"},
		},
		"undecodable and deleted": {[][]byte{stored("one", "u1", "6", bad)}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := stateOf(t, newState(), c.before...)
			after := stateOf(t, before, c.after...)
			if after.count() != len(c.after) {
				t.Errorf("%d are counted of %d", after.count(), len(c.after))
			}
			var got []string
			for _, change := range differences(before, after) {
				text := ">"
				if b := change.Before; b != nil {
					text = fmt.Sprintf("%s@%s %s>", b.UID, b.ResourceVersion, b.Spec.Reason)
				}
				if a := change.After; a != nil {
					text += fmt.Sprintf("%s@%s %s", a.UID, a.ResourceVersion, a.Spec.Reason)
				}
				got = append(got, text)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("differences %q, want %q", got, c.want)
			}
		})
	}
}

// A manager's memory is what it holds of each pause, times all there are.
func TestAPauseIsHeldInLittleMemory(t *testing.T) {
	const pauses, most = 10_000, 650
	raw := func(i int) []byte {
		return fmt.Appendf(nil, `{"apiVersion":"rtp.nagi.dev/v1alpha1","kind":"RtpStreamPause",
			"metadata":{"name":"pause-%06d","namespace":"default",
			"uid":"8d1f7a52-6f2e-4b57-9f0c-%012d","resourceVersion":"%d","generation":1,
			"creationTimestamp":"2026-11-25T20:00:00Z","labels":{"app.kubernetes.io/managed-by":"nagi-shim"},
			"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"},
			"managedFields":[{"manager":"kubectl","operation":"Update","fieldsType":"FieldsV1",
			 "fieldsV1":{"f:spec":{"f:channelID":{}}}}]},
			"spec":{"channelID":"channel-%05d","receivers":{"connectionIDs":["R%025d"]},"senders":{"connectionIDs":["S%025d"]}},
			"status":{"observedGeneration":1,"mediaServer":"ms-%d","conditions":[
				{"type":"Ready","status":"True","reason":"Enforced","observedGeneration":1,
				 "lastTransitionTime":"2026-11-25T20:%02d:00Z",
				 "message":"In place on every media server that hosts the channel, for who is there and for who comes."},
				{"type":"Enforced","status":"True","reason":"Withheld","observedGeneration":1,
				 "lastTransitionTime":"2026-11-25T20:%02d:00Z",
				 "message":"Withheld by media server \"ms-%d\"."}]}}`, i, i, i, i/10, i, i, i%100, i%60, i%60, i%100)
	}
	all := newState()
	before := inUse()
	for i := range pauses {
		one, err := all.read(raw(i))
		if err != nil || one.err != nil {
			t.Fatal(err, one.err)
		}
		all.put(one)
	}
	each := (inUse() - before) / pauses
	t.Log("bytes each:", each)
	if each > most {
		t.Errorf("a pause is held in %d bytes, want %d at most", each, most)
	}
	runtime.KeepAlive(all)
}

// inUse is the memory of what is reachable.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // What unique strings leave behind takes another one.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)

	return m.HeapAlloc
}
