package bounds

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A network that wants many places keeps its own waiting, and nobody else; who gives up
// waiting, or has left, leaves nothing behind.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces(3, 2)
		a, b, c := NetworkOf("192.0.2.1:1"), NetworkOf("192.0.2.2:1"), NetworkOf("192.0.2.3:1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first, second := p.Take(ctx, a), p.Take(ctx, a)
		took := make(chan string, 10)
		for i := range 3 {
			go func() {
				if leave := p.Take(ctx, a); leave != nil {
					took <- fmt.Sprint("a", i)
					leave()
				} else {
					took <- "none"
				}
			}()
		}
		synctest.Wait()
		if len(took) > 0 {
			t.Errorf("a third of a network is let in: %s", <-took)
		}
		third := p.Take(ctx, b)
		if third == nil {
			t.Fatal("a network's wishes keep another one from its place")
		}
		short, end := context.WithTimeout(ctx, time.Second)
		defer end()
		if p.Take(short, c) != nil {
			t.Error("a fourth is let in")
		}
		third()
		first()
		synctest.Wait()
		if len(took) != 3 {
			t.Errorf("%d of three that waited got a place", len(took))
		}
		for range len(took) {
			if got := <-took; got == "none" {
				t.Error("one that waited got no place")
			}
		}
		second()
		if len(p.networks) != 0 || len(p.all) != 0 {
			t.Errorf("%d networks, %d places are left", len(p.networks), len(p.all))
		}
	})
}
