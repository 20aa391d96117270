package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/controllers/tables"
)

const (
	byChannel = "spec.channelID"
	byUID     = "metadata.uid"
)

// store is the informer of one namespace. Each namespace has its own, because
// resource versions tell how complete one informer is, not several.
type store struct {
	namespace  string
	cache      cache.Cache
	informer   toolscache.SharedIndexInformer
	handled    toolscache.ResourceEventHandlerRegistration
	heardNanos atomic.Int64 // since began
	began      time.Time
	staleAfter time.Duration
	log        *slog.Logger
}

// newStore prepares the informer; changed is called from its event handler for
// every object before and after a change, nil where there is none.
//
// It asks the API server nothing: one that is absent, or that has no CRD yet, is
// waited for once the store runs.
func newStore(ctx context.Context, config Config, scheme *runtime.Scheme, namespace string, changed func(before, after *v1alpha1.RtpStreamPause)) (*store, error) {
	s := &store{namespace: namespace, began: time.Now(), staleAfter: config.StaleAfter, log: config.Log}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion})
	mapper.Add(v1alpha1.GroupVersion.WithKind("RtpStreamPause"), meta.RESTScopeNamespace)
	var err error
	s.cache, err = cache.New(config.REST, cache.Options{
		Scheme: scheme,
		Mapper: mapper,
		// What fails is told where it fails: the reflector keeps a refused connection
		// to itself.
		DefaultWatchErrorHandler:    func(context.Context, *toolscache.Reflector, error) {},
		DefaultNamespaces:           map[string]cache.Config{namespace: {}},
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
		NewInformer:                 s.newInformer,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the watch on namespace %q: %w", namespace, err)
	}
	if _, err := s.cache.GetInformer(ctx, &v1alpha1.RtpStreamPause{}, cache.BlockUntilSynced(false)); err != nil {
		return nil, fmt.Errorf("watch RtpStreamPause in namespace %q: %w", namespace, err)
	}
	err = s.informer.AddIndexers(toolscache.Indexers{
		byChannel: func(o any) ([]string, error) {
			return indexed(o, func(p *v1alpha1.RtpStreamPause) string { return p.Spec.ChannelID })
		},
		byUID: func(o any) ([]string, error) {
			return indexed(o, func(p *v1alpha1.RtpStreamPause) string { return string(p.UID) })
		},
	})
	if err != nil {
		return nil, fmt.Errorf("index namespace %q: %w", namespace, err)
	}
	s.handled, err = s.informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { changed(nil, pauseOf(o)) },
		UpdateFunc: func(before, after any) { changed(pauseOf(before), pauseOf(after)) },
		DeleteFunc: func(o any) { changed(pauseOf(o), nil) },
	})
	if err != nil {
		return nil, fmt.Errorf("listen to namespace %q: %w", namespace, err)
	}

	return s, nil
}

// watchFailed says why there is no watch; the reflector tries again by itself, at
// intervals that grow to half a minute.
func (s *store) watchFailed(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
		// It is ending, or must list again, as happens now and then.
	case apierrors.IsNotFound(err):
		s.log.Error("no watch on RtpStreamPause; install the CRD from config/crd; trying again", "namespace", s.namespace, "err", err)
	case apierrors.IsForbidden(err):
		s.log.Error("no watch on RtpStreamPause; bind the role nagi-manager of config/rbac in this namespace; trying again", "namespace", s.namespace, "err", err)
	default:
		s.log.Error("no watch on RtpStreamPause; is the API server reachable? trying again", "namespace", s.namespace, "err", err)
	}
}

func indexed(o any, key func(*v1alpha1.RtpStreamPause) string) ([]string, error) {
	if pause := pauseOf(o); pause != nil {
		return []string{key(pause)}, nil
	}

	return nil, nil
}

// pauseOf returns nil for what is no pause, and looks into the tombstone that an
// informer makes of a deletion that it only learned of by listing again.
func pauseOf(o any) *v1alpha1.RtpStreamPause {
	if tombstone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = tombstone.Obj
	}
	pause, _ := o.(*v1alpha1.RtpStreamPause)

	return pause
}

// newInformer keeps hold of the informer that the cache makes, since only its
// indexer tells the version of the store, and listens to its watch: a bookmark
// is a sign of life though the version may stay as it is.
func (s *store) newInformer(lw toolscache.ListerWatcher, o runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	s.informer = toolscache.NewSharedIndexInformer(heardListerWatcher{toolscache.ToListerWatcherWithContext(lw), s.heard, s.watchFailed}, o, resync, indexers)

	return s.informer
}

type heardListerWatcher struct {
	toolscache.ListerWatcherWithContext
	heard  func()
	failed func(context.Context, error)
}

func (l heardListerWatcher) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

func (l heardListerWatcher) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

func (l heardListerWatcher) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := l.ListerWatcherWithContext.ListWithContext(ctx, options)
	if err != nil {
		l.failed(ctx, err)

		return nil, err // As it is: the reflector reads the error's kind.
	}
	l.heard()

	return list, nil
}

func (l heardListerWatcher) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := l.ListerWatcherWithContext.WatchWithContext(ctx, options)
	if err != nil {
		l.failed(ctx, err)

		return nil, err // As it is: the reflector reads the error's kind.
	}

	h := &heardWatch{Interface: w, heard: l.heard, events: make(chan watch.Event), stopped: make(chan struct{})}
	go h.pass()

	return h, nil
}

// heardWatch passes events on. Unlike apimachinery's filter it ends when it is
// stopped though nobody takes the event at hand.
type heardWatch struct {
	watch.Interface
	heard   func()
	events  chan watch.Event
	stopped chan struct{}
	once    sync.Once
}

func (h *heardWatch) ResultChan() <-chan watch.Event { return h.events }

func (h *heardWatch) Stop() {
	h.once.Do(func() { close(h.stopped) })
	h.Interface.Stop()
}

func (h *heardWatch) pass() {
	defer close(h.events)
	for event := range h.Interface.ResultChan() {
		if event.Type != watch.Error {
			h.heard()
		}
		select {
		case h.events <- event:
		case <-h.stopped:
			return
		}
	}
}

func (s *store) heard() { s.heardNanos.Store(int64(time.Since(s.began))) }

// stale tells that neither an event nor a bookmark has come for too long.
func (s *store) stale() bool {
	return time.Since(s.began)-time.Duration(s.heardNanos.Load()) >= s.staleAfter
}

// synced tells that the event handler has processed the initial list.
func (s *store) synced() bool { return s.handled.HasSynced() }

func (s *store) version() uint64 {
	// Empty before the first list, which synced has ruled out.
	version, _ := strconv.ParseUint(s.informer.GetIndexer().LastStoreSyncResourceVersion(), 10, 64)

	return version
}

// table looks the channel up. The version is read before and after until equal:
// read only before, a deletion between would give the old version to a newer
// set; read only after, the other way round.
func (s *store) table(channelID string) *forwardingv1.Table {
	for {
		version := s.version()
		objects := s.pauses(channelID)
		if s.version() == version {
			table := tables.Table(channelID, version, objects)
			table.Stale = s.stale()

			return table
		}
	}
}

func (s *store) pauses(channelID string) []*v1alpha1.RtpStreamPause {
	return s.lookUp(byChannel, channelID)
}

func (s *store) lookUp(index, key string) []*v1alpha1.RtpStreamPause {
	// ByIndex fails only for an index that does not exist.
	found, _ := s.informer.GetIndexer().ByIndex(index, key)
	result := make([]*v1alpha1.RtpStreamPause, 0, len(found))
	for _, o := range found {
		if pause := pauseOf(o); pause != nil {
			result = append(result, pause)
		}
	}

	return result
}

func (s *store) byUID(uid string) *v1alpha1.RtpStreamPause {
	if found := s.lookUp(byUID, uid); len(found) > 0 {
		return found[0]
	}

	return nil
}

func (s *store) byName(name string) *v1alpha1.RtpStreamPause {
	found, _, _ := s.informer.GetIndexer().GetByKey(s.namespace + "/" + name)

	return pauseOf(found)
}

func (s *store) run(ctx context.Context) error {
	if err := s.cache.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("watch namespace %q: %w", s.namespace, err)
	}

	return nil
}

// samePause tells whether a change of an object leaves its rule as it was.
func samePause(before, after *v1alpha1.RtpStreamPause) bool {
	return before != nil && after != nil && before.Spec.ChannelID == after.Spec.ChannelID &&
		proto.Equal(tables.Pause(before), tables.Pause(after))
}
