package claims

import (
	"context"
	"time"
)

// FindGone looks for the pods that are out of touch, until ctx ends: what is gone hosts
// nothing, also where its claims have passed on. Each replica does, since each is asked who is
// connected. hosting is of each served namespace.
func (c *Claims) FindGone(ctx context.Context, hosting map[string]Hosting) error {
	if !c.config.Pods {
		return nil
	}
	ticker := time.NewTicker(c.config.CollectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for namespace, of := range hosting {
			c.findGone(ctx, namespace, of)
		}
	}
}

// findGone looks once. A pod that cannot be read ends that: the others could not be either.
func (c *Claims) findGone(ctx context.Context, namespace string, hosting Hosting) {
	for _, holder := range hosting.OutOfTouch() {
		look := c.podOf
		if holder.PodUID == "" {
			look = c.podNamed
		}
		state, err := look(ctx, namespace, holder)
		if err != nil {
			return
		}
		if state == podGone {
			hosting.PodGone(holder)
		}
	}
}
