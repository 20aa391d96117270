package identity

import (
	"container/list"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"
)

// maxKnown bounds the reviews that are remembered: of a thousand media servers and as
// many others, with the tokens that they had before, each of which is remembered by
// itself too.
const maxKnown = 8192

// key is a hash of a token and of what its caller wants: no token is kept.
type key [sha256.Size]byte

func keyOf(token, verb, namespace string) key {
	// No verb or namespace contains a line feed, so what is hashed can be read in one
	// way alone.
	return sha256.Sum256([]byte(verb + "\n" + namespace + "\n" + token))
}

// review is what the API server said when it allowed something.
type review struct {
	caller *Caller
	// again is when the API server is asked again, until is how long the review counts
	// while that does not answer.
	again, until time.Time
}

// cache remembers what was allowed last, the least recently used forgotten first.
type cache struct {
	mu    sync.Mutex
	order *list.List // of entries, the last used first
	byKey map[key]*list.Element
}

type entry struct {
	key    key
	review *review
}

func newCache() *cache { return &cache{order: list.New(), byKey: map[key]*list.Element{}} }

func (c *cache) get(k key) *review {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.byKey[k]
	if element == nil {
		return nil
	}
	c.order.MoveToFront(element)

	return element.Value.(*entry).review
}

func (c *cache) put(k key, r *review) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.byKey[k]; element != nil {
		element.Value.(*entry).review = r
		c.order.MoveToFront(element)

		return
	}
	c.byKey[k] = c.order.PushFront(&entry{k, r})
	if c.order.Len() > maxKnown {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.byKey, oldest.Value.(*entry).key)
	}
}

func (c *cache) forget(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.byKey[k]; element != nil {
		c.order.Remove(element)
		delete(c.byKey, k)
	}
}

// endOf reads when a token ends (RFC 7519, exp); latest where it ends later, or does
// not say. It checks nothing: the API server has just taken the token for good.
func endOf(token string, latest time.Time) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return latest
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return latest
	}
	var claims struct {
		Expires *float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires == nil {
		return latest
	}
	if end := time.Unix(int64(*claims.Expires), 0); end.Before(latest) {
		return end
	}

	return latest
}
