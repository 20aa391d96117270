package certificates

import (
	"bytes"
	"encoding/pem"
	"slices"
	"time"
)

// Lifetimes are how long things last. Those left 0 have the values of the design.
type Lifetimes struct {
	// Root is how long a certificate authority is valid; a year. At two thirds of it
	// the next one is made.
	Root time.Duration
	// Settle is how long clients have to learn of a new authority, once every namespace
	// has been given it, before anything is signed by it; an hour. Kubelet takes two
	// minutes.
	Settle time.Duration
	// Serving is how long a manager's own certificate is valid; a day. At half of it
	// the next one is made.
	Serving time.Duration
}

func (l *Lifetimes) setDefaults() {
	for _, one := range []struct {
		d     *time.Duration
		value time.Duration
	}{{&l.Root, 365 * 24 * time.Hour}, {&l.Settle, time.Hour}, {&l.Serving, 24 * time.Hour}} {
		if *one.d == 0 {
			*one.d = one.value
		}
	}
}

// roots are our certificate authorities, the oldest first: the one that signs, those
// that have signed what is still in use, and the one that will sign.
type roots []*root

// signer is the newest whose time has come; where there is none, the oldest. nil: there
// is none at all.
func (rs roots) signer(now time.Time) *root {
	for _, r := range slices.Backward(rs) {
		if !r.signsFrom.IsZero() && !now.Before(r.signsFrom) {
			return r
		}
	}
	if len(rs) == 0 {
		return nil
	}

	return rs[0]
}

// union adds roots that this manager knows to those that are stored. Where it has to,
// somebody has replaced what was stored: clients know of its own alone, so the others
// sign from later on.
func (rs roots) union(mine roots) roots {
	missing := slices.DeleteFunc(slices.Clone(mine), func(m *root) bool { return slices.ContainsFunc(rs, m.same) })
	if len(missing) == 0 {
		return rs
	}
	all := slices.Clone(missing)
	for _, r := range rs {
		stored := *r
		if !slices.ContainsFunc(mine, r.same) {
			stored.signsFrom = time.Time{}
		}
		all = append(all, &stored)
	}
	slices.SortStableFunc(all, func(a, b *root) int { return a.made().Compare(b.made()) })

	return all
}

// current leaves out those that have ended, and those that are older than the signer
// once all that they have signed has ended.
func (rs roots) current(now time.Time, l Lifetimes) roots {
	kept := slices.DeleteFunc(slices.Clone(rs), func(r *root) bool { return now.After(r.certificate.NotAfter) })
	signer := kept.signer(now)
	if signer == nil || signer.signsFrom.IsZero() || !now.After(signer.signsFrom.Add(l.Serving+l.Settle)) {
		return kept
	}

	return kept[slices.Index(kept, signer):]
}

// needsNext tells whether it is time to make another one.
func (rs roots) needsNext(now time.Time, l Lifetimes) bool {
	return len(rs) == 0 || now.After(rs[len(rs)-1].made().Add(l.Root*2/3))
}

// told is the roots once clients have been given all of them: from when on each signs
// is fixed. changed tells whether it was not before.
func (rs roots) told(now time.Time, l Lifetimes) (told roots, changed bool) {
	for _, r := range rs {
		one := *r
		if one.signsFrom.IsZero() {
			one.signsFrom, changed = now.Add(l.Settle), true
		}
		told = append(told, &one)
	}

	return told, changed
}

// bundle is what clients trust, as PEM, without keys.
func (rs roots) bundle() string {
	var text bytes.Buffer
	for _, r := range rs {
		_ = pem.Encode(&text, &pem.Block{Type: certificateBlock, Bytes: r.certificate.Raw}) // A buffer takes everything.
	}

	return text.String()
}
