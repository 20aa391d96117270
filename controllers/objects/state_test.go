package objects

import (
	"fmt"
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
		"nothing":                 {[][]byte{one}, [][]byte{one}, nil},
		"created":                 {nil, [][]byte{one}, []string{">u1@5 a"}},
		"deleted":                 {[][]byte{one}, nil, []string{"u1@5 a>"}},
		"edited":                  {[][]byte{one}, [][]byte{stored("one", "u1", "6", said("b"))}, []string{"u1@5 a>u1@6 b"}},
		"gone back":               {[][]byte{one}, [][]byte{stored("one", "u1", "4", said("z"))}, []string{"u1@5 a>u1@4 z"}},
		"same version, other":     {[][]byte{one}, [][]byte{stored("one", "u1", "5", said("b"))}, []string{"u1@5 a>u1@5 b"}},
		"sent in another form":    {[][]byte{one}, [][]byte{append([]byte(" "), one...)}, nil},
		"replaced":                {[][]byte{one}, [][]byte{stored("one", "u2", "7", said("a"))}, []string{"u1@5 a>", ">u2@7 a"}},
		"stops decoding":          {[][]byte{one}, [][]byte{stored("one", "u1", "6", bad)}, []string{"u1@5 a>"}},
		"mended":                  {[][]byte{stored("one", "u1", "6", bad)}, [][]byte{stored("one", "u1", "7", said("a"))}, []string{">u1@7 a"}},
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

func TestWhatNobodyReadsIsNotKept(t *testing.T) {
	held := stateOf(t, newState(), stored("one", "u1", "5", said("a"))).objects["one"].pause
	if held.ManagedFields != nil || held.Annotations != nil {
		t.Errorf("kept: %v, %v", held.ManagedFields, held.Annotations)
	}
}
