package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// workers bounds the writes in flight.
	workers = 16
	// watchPeriod is how often a term is looked at.
	watchPeriod = 100 * time.Millisecond
)

// term writes until ctx ends or the lease runs out; the error tells why it has
// given the office up before.
func (l *Lifecycle) term(ctx context.Context, story *story) error {
	l.metrics.inOffice.Set(1)
	defer l.metrics.inOffice.Set(0)
	l.config.Log.Info("in office: writing status")
	defer l.config.Log.Info("out of office")

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	r := &reconciler{
		knowledge: l.config.Knowledge, writer: l.writer, story: story, log: l.config.Log, metrics: l.metrics,
		inOffice: began, doubts: map[types.NamespacedName]time.Time{},
	}
	h := &health{limit: l.config.GiveUpAfter}
	q := newQueue()
	defer l.metrics.observe(newQueue())
	var working sync.WaitGroup
	working.Go(func() { follow(ctx, q, r) })
	if l.config.Collect != nil {
		working.Go(func() { l.config.Collect(ctx) })
	}
	for range workers {
		working.Go(func() { l.work(ctx, q, r, h) })
	}
	err := l.oversee(ctx, q, h, began)
	stop()
	q.close()
	working.Wait()

	return err
}

// follow has every pause there is looked at, and then what changes, until ctx ends.
//
// The beginning of a term, and the streams that come with it, concern all pauses, and
// before a new writer can know better it changes next to nothing of what its
// predecessor knew. So the many wait until then, and the cores are for those who have
// yet to get their tables; a pause that nobody has judged does not wait, nor does a
// change of its own.
func follow(ctx context.Context, q *queue, r *reconciler) {
	watch := func() (stop func()) {
		return r.knowledge.Watch(func(name types.NamespacedName, low bool) {
			switch {
			case !low:
				q.add(name, live)
			case time.Now().Before(r.sure()) && r.judged(name):
			default:
				q.add(name, mass)
			}
		})
	}
	stop := watch()
	if pause(ctx, time.Until(r.sure())) {
		early := stop
		stop = watch() // It tells of all again.
		early()
	}
	<-ctx.Done()
	stop()
}

// oversee returns when the term is to end: without an error when the lease is
// lost, and with one when this replica cannot do the work.
func (l *Lifecycle) oversee(ctx context.Context, q *queue, h *health, began time.Time) error {
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	known := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		l.metrics.observe(q)
		if l.tenure.left() <= 0 {
			l.config.Log.Warn("the last renewal is older than the lease: another manager may be in office")

			return nil
		}
		err := l.config.Knowledge.Known()
		if err == nil {
			known = now
		}
		if now.Sub(known) >= l.config.GiveUpAfter {
			return fmt.Errorf("this manager has not known what to write for %s: %w", l.config.GiveUpAfter, err)
		}
		if now.Sub(q.oldest(now)) >= 2*l.config.GiveUpAfter {
			return fmt.Errorf("a pause has been looked at for %s without an end", 2*l.config.GiveUpAfter)
		}
		if err := h.failure(); err != nil {
			return err
		}
		if h.wrote() || now.Sub(began) >= 2*l.config.GiveUpAfter && h.fine() {
			l.gaveUp.Store(nil)
		}
	}
}

func (l *Lifecycle) work(ctx context.Context, q *queue, r *reconciler, h *health) {
	for {
		name, ok := q.take()
		if !ok {
			return
		}
		q.done(name, l.look(ctx, r, h, name))
	}
}

// look reconciles one pause and keeps the account of how that goes.
func (l *Lifecycle) look(ctx context.Context, r *reconciler, h *health, name types.NamespacedName) (n next) {
	defer func() {
		if p := recover(); p != nil {
			l.metrics.panics.Inc()
			l.config.Log.Error("panic while a pause was looked at", "namespace", name.Namespace, "name", name.Name, "panic", p,
				"stack", string(debug.Stack()))
			h.panicked(name.Namespace, fmt.Errorf("panic: %v", p))
			n = next{failed: true}
		}
	}()
	n, wrote, err := r.reconcile(ctx, name)
	switch {
	case err == nil:
		h.succeeded(name.Namespace, wrote)
		n.wrote = wrote

		return n
	case ctx.Err() != nil || errors.Is(err, errOutOfOffice):
		// The end of the term is no failure of the API server.
	default:
		l.metrics.failures.Inc()
		l.config.Log.Warn("not written; tried again", "namespace", name.Namespace, "name", name.Name, "err", err)
		h.failed(name.Namespace, err, time.Now())
	}

	return next{failed: true, barred: !ofThePauseAlone(err)}
}
