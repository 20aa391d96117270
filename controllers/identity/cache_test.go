package identity

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"
)

func TestTheCacheIsBoundedAndForgetsWhoWasNotAskedForLongest(t *testing.T) {
	c := newCache()
	keyOf := func(i int) key { return keyOf(fmt.Sprint("token-", i), Subscribe, "meetings") }
	for i := range maxKnown {
		c.put(keyOf(i), &review{})
	}
	c.get(keyOf(0))
	c.put(keyOf(maxKnown), &review{})
	if c.get(keyOf(0)) == nil || c.get(keyOf(1)) != nil || c.get(keyOf(maxKnown)) == nil {
		t.Error("another one is forgotten than the one that was not asked for longest")
	}
	if len(c.byKey) != maxKnown || c.order.Len() != maxKnown {
		t.Errorf("%d and %d are remembered, want %d", len(c.byKey), c.order.Len(), maxKnown)
	}
	caller := &Caller{}
	c.put(keyOf(0), &review{caller: caller})
	if c.get(keyOf(0)).caller != caller || c.order.Len() != maxKnown {
		t.Error("a newer review does not take the place of the older one")
	}
	c.forget(keyOf(0))
	if c.get(keyOf(0)) != nil || len(c.byKey) != maxKnown-1 {
		t.Error("it is not forgotten")
	}
}

func TestWhatIsAllowedIsAllowedToOneTokenForOneVerbInOneNamespace(t *testing.T) {
	seen := map[key]string{}
	for _, token := range []string{"a.b.c", "a.b.d"} {
		for _, verb := range []string{Subscribe, List, Disconnect} {
			for _, namespace := range []string{"", "meetings", "lessons"} {
				what := token + " " + verb + " " + namespace
				if other, taken := seen[keyOf(token, verb, namespace)]; taken {
					t.Errorf("%s counts as %s", what, other)
				}
				seen[keyOf(token, verb, namespace)] = what
			}
		}
	}
}

func TestWhenATokenEnds(t *testing.T) {
	latest := time.Unix(2000, 0)
	token := func(claims string) string {
		return "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
	}
	for text, want := range map[string]int64{
		token(`{"exp":1500}`): 1500, token(`{"exp":1500.5}`): 1500, token(`{"exp":2500}`): 2000, token(`{}`): 2000,
		token(`{"exp":"soon"}`): 2000, token(`[`): 2000, "a.%.c": 2000, "opaque": 2000, "": 2000,
	} {
		if got := endOf(text, latest); got.Unix() != want {
			t.Errorf("%s ends at %d, want %d", text, got.Unix(), want)
		}
	}
}
