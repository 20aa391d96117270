//go:build linux && cluster

package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nagi-rtc/nagi/cmd/nagi/bot"
)

// member is somebody in a channel, who connects again whenever the connection ends, as applications do.
type member struct {
	id      string
	joins   atomic.Int64
	running sync.WaitGroup

	mu       sync.Mutex
	bot      *bot.Bot // Nil while there is no connection.
	lastSaid error    // Why there is none.
}

// Waits between two tries to connect.
const retry = 100 * time.Millisecond

// join keeps a client in a channel until the test ends.
func join(t *testing.T, config bot.Config) *member {
	t.Helper()
	c := &member{id: config.ClientID}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	c.running.Go(func() {
		for ctx.Err() == nil {
			c.connect(ctx, config)
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		c.running.Wait()
	})

	return c
}

// connect is one connection, from its beginning to its end.
func (c *member) connect(ctx context.Context, config bot.Config) {
	joining, cancel := context.WithTimeout(ctx, patience/4)
	defer cancel()
	b, err := bot.Join(joining, config)
	c.set(b, err)
	if err != nil {
		return
	}
	c.joins.Add(1)
	select {
	case <-b.Done():
		c.set(nil, b.Err())
	case <-ctx.Done():
		c.set(nil, ctx.Err())
	}
	// It may take its time to end; whoever wants to go on does not wait for that.
	c.running.Go(b.Drop)
}

func (c *member) set(b *bot.Bot, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bot, c.lastSaid = b, err
}

// connection is the present one; without one the error tells why.
func (c *member) connection() (*bot.Bot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bot == nil && c.lastSaid == nil {
		return nil, errNotYet
	}

	return c.bot, c.lastSaid
}
