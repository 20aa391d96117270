package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"
)

// lives are round figures: a root lives 90 h, so the next one is due after 60.
var lives = Lifetimes{Root: 90 * time.Hour, Settle: time.Hour, Serving: 10 * time.Hour}

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(hours float64) time.Time { return begin.Add(time.Duration(hours * float64(time.Hour))) }

// rootAt is made, and signs, after so many hours; signs 0: not yet fixed.
func rootAt(t *testing.T, made, signs float64) *root {
	t.Helper()
	r, err := newRoot(at(made), lives.Root)
	if err != nil {
		t.Fatal(err)
	}
	if signs > 0 {
		r.signsFrom = at(signs)
	}

	return r
}

func TestWhichRootsThereAreAndWhichSigns(t *testing.T) {
	first, second, third := rootAt(t, 0, 1), rootAt(t, 60, 61), rootAt(t, 60, 0)
	for _, test := range []struct {
		name    string
		roots   roots
		hour    float64
		signer  *root
		current roots
		next    bool
	}{
		{"there is none", nil, 0, nil, nil, true},
		{"the first signs at once", roots{rootAt(t, 0, 0)}[:0], 0, nil, nil, true},
		{"one alone", roots{first}, 0.5, first, roots{first}, false},
		{"one alone, settled", roots{first}, 59, first, roots{first}, false},
		{"two thirds are over", roots{first}, 60.1, first, roots{first}, true},
		{"the next one is not told yet", roots{first, third}, 70, first, roots{first, third}, false},
		{"the next one is told", roots{first, second}, 60.9, first, roots{first, second}, false},
		{"the next one signs", roots{first, second}, 61, second, roots{first, second}, false},
		{"what the old one signed may be in use", roots{first, second}, 72, second, roots{first, second}, false},
		{"what the old one signed has ended", roots{first, second}, 72.1, second, roots{second}, false},
		{"it has ended, and the next one was never told", roots{first, third}, 90.1, third, roots{third}, false},
		{"all have ended", roots{first}, 90.1, nil, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := at(test.hour)
			current := test.roots.current(now, lives)
			if !slices.Equal(current, test.current) {
				t.Errorf("%d roots are left, want %d", len(current), len(test.current))
			}
			if signer := current.signer(now); signer != test.signer {
				t.Errorf("another one signs: %+v", signer)
			}
			if next := current.needsNext(now, lives); next != test.next {
				t.Errorf("needs another one: %t, want %t", next, test.next)
			}
		})
	}
}

func TestSomebodyElsesRootSignsOnceClientsKnowIt(t *testing.T) {
	mine, theirs := rootAt(t, 0, 1), rootAt(t, 5, 5)
	all := roots{theirs}.union(roots{mine})
	if len(all) != 2 || all[0] != mine || !all[1].same(theirs) || !all[1].signsFrom.IsZero() {
		t.Fatalf("the union is %+v", all)
	}
	if all.signer(at(6)) != mine {
		t.Error("what no client knows signs")
	}
	told, changed := all.told(at(6), lives)
	if !changed || told.signer(at(6.9)) == nil || !told.signer(at(6.9)).same(mine) || !told.signer(at(7)).same(theirs) {
		t.Error("it does not sign an hour after clients were told, or before")
	}
	if again, changed := told.told(at(20), lives); changed || !again.equal(told) {
		t.Error("when it signs changes")
	}
	if same := (roots{mine, theirs}).union(roots{mine}); !same[1].signsFrom.Equal(at(5)) {
		t.Error("what is stored beside ours signs later than it says")
	}
}

func TestRootsAreWrittenAndRead(t *testing.T) {
	written := roots{rootAt(t, 0, 1), rootAt(t, 60, 0)}
	text, err := written.encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := decode(text)
	if err != nil || !read.equal(written) || !read[1].key.Equal(written[1].key) {
		t.Errorf("read %+v: %v", read, err)
	}
	if bundle := written.bundle(); strings.Contains(bundle, "PRIVATE") ||
		strings.Count(bundle, "BEGIN CERTIFICATE") != 2 || !x509.NewCertPool().AppendCertsFromPEM([]byte(bundle)) {
		t.Errorf("clients are told\n%s", bundle)
	}
	other, err := roots{rootAt(t, 1, 1)}.encode()
	if err != nil {
		t.Fatal(err)
	}
	key := bytes.Index(text, []byte("-----BEGIN PRIVATE"))
	for name, wrong := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("x"), "a certificate alone": text[:key],
		"another's key":  append(slices.Clone(text[:key]), other[bytes.Index(other, []byte("-----BEGIN PRIVATE")):]...),
		"no time":        bytes.Replace(text, []byte("Signs-From: 2026"), []byte("Signs-From: then"), 1),
		"no certificate": bytes.ReplaceAll(text, []byte("CERTIFICATE"), []byte("FORGERY")),
	} {
		if read, err := decode(wrong); err == nil {
			t.Errorf("%s is read as %+v", name, read)
		}
	}
}

func TestAServingCertificateIsRenewedAtHalfOfItsTimeAndEndsBeforeItsRoot(t *testing.T) {
	r, other := rootAt(t, 0, 1), rootAt(t, 1, 2)
	names := Names{DNS: []string{"managers.nagi.svc"}}
	serve := func(hour float64) *tls.Certificate {
		t.Helper()
		certificate, err := r.serve(at(hour), lives.Serving, names)
		if err != nil {
			t.Fatal(err)
		}

		return certificate
	}
	certificate := serve(10)
	for _, test := range []struct {
		signer *root
		hour   float64
		want   bool
	}{{r, 10, false}, {r, 14.9, false}, {r, 15.1, true}, {other, 10, true}} {
		if got := outlived(certificate, test.signer, at(test.hour)); got != test.want {
			t.Errorf("at hour %v: %t", test.hour, got)
		}
	}
	if !outlived(nil, r, at(0)) {
		t.Error("none is enough")
	}
	if until := serve(85).Leaf.NotAfter; !until.Equal(r.certificate.NotAfter) {
		t.Errorf("it lives until %s, and its root until %s", until, r.certificate.NotAfter)
	}
	pool := x509.NewCertPool()
	pool.AddCert(r.certificate)
	if _, err := certificate.Leaf.Verify(x509.VerifyOptions{
		Roots: pool, DNSName: names.DNS[0], CurrentTime: at(11),
	}); err != nil {
		t.Error(err)
	}
}
